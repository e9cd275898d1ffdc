"""Each parser on text in its tool's layout, and on text that is not its tool's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.checks import parsers

FIXTURES = Path(__file__).parent / "fixtures"


def read(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def shown(devices: list[dict]) -> list[tuple]:
    return [(device["model"], device["health"], device["busy"]) for device in devices]


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("npu-smi_two.txt", [("910B3", "OK", False)] * 2),
        ("npu-smi_busy_and_ill.txt", [("910B3", "OK", True), ("910B3", "Warning", False)]),
        ("npu-smi_two_chips_each.txt", [("Ascend910", "OK", False), ("Ascend910", "OK", True)]),
        ("npu-smi_separate_columns.txt", [("Ascend950DT", "Alarm", False)]),
    ],
)
def test_npu_smi_in_all_its_layouts(name: str, devices: list[tuple]) -> None:
    assert shown(parsers.npu_smi(read(name))) == devices


def test_npu_smi_that_fails_says_why() -> None:
    with pytest.raises(ValueError, match="dcmi module initialize failed"):
        parsers.npu_smi("dcmi module initialize failed. ret is -8005\n")


def test_nvidia_smi_with_units_and_without_memory() -> None:
    told = shown(parsers.nvidia_gpus(read("nvidia-smi_query.csv")))
    assert told == [("NVIDIA H200", "OK", False), ("NVIDIA H200", "OK", True), ("NVIDIA GB10", "OK", False)]


@pytest.mark.parametrize("out", ["", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"])
def test_nvidia_smi_that_fails(out: str) -> None:
    with pytest.raises(ValueError):
        parsers.nvidia_gpus(out)


def test_bm_smi_knows_active_faulty_and_busy_chips() -> None:
    told = shown(parsers.bm_smi(read("bm-smi_text.txt")))
    assert told == [("1684X-SC7", "OK", False), ("1684X-SC7", "OK", True), ("1684X-SC7", "Fault", False)]


@pytest.mark.parametrize(
    ("parser", "name", "value"),
    [
        (parsers.ascend_driver, "driver_version.info", "25.0.rc1.1"),
        (parsers.ascend_firmware, "firmware_version.info", "7.7.0.1.231"),
        (parsers.ascend_toolkit, "ascend_toolkit_install.info", "8.2.RC1"),
        (parsers.ascend_kernels, "opp_kernel_version.info", "8.2.RC1"),
        (parsers.ascend_components, "version.cfg", {"runtime": "8.2.RC1", "opp_kernel": "8.2.RC1"}),
    ],
)
def test_ascend_version_files(parser, name: str, value) -> None:
    assert parser(read(name)) == value


def test_the_package_version_wins_and_is_not_needed() -> None:
    assert parsers.ascend_driver("Version=7.35.23\npackage_version=26.0.rc1\n") == "26.0.rc1"
    assert parsers.ascend_driver("Version=24.1.rc1\nInnerversion=V100R001C15\n") == "24.1.rc1"


def test_innerversion_is_never_taken_for_the_version() -> None:
    with pytest.raises(ValueError, match="no version"):
        parsers.ascend_toolkit("innerversion=V100R001C22SPC001B231\n")


def test_a_key_with_two_values_is_unknown() -> None:
    with pytest.raises(ValueError, match="stands twice: 1 and 2"):
        parsers.key_values("version=1\nversion=2\n")
    assert parsers.key_values("version=1\nversion=1\n") == {"version": "1"}


def test_small_tools() -> None:
    assert parsers.nvidia_driver("NVRM version: NVIDIA UNIX x86_64 Kernel Module  440.33.01  Wed\n") == "440.33.01"
    open_module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
    assert parsers.nvidia_driver(open_module) == "570.86.15"
    assert parsers.nvcc("Cuda compilation tools, release 12.4, V12.4.131\n") == "12.4"
    assert parsers.sophgo_driver("release version:0.5.1   release date: 20240401-1\n") == "0.5.1"
    assert parsers.sophon_library("/opt/sophon/libsophon-0.5.1\n") == "0.5.1"
    assert (
        parsers.os_release('NAME="openEuler"\nPRETTY_NAME="openEuler 22.03 (LTS-SP4)"\n') == "openEuler 22.03 (LTS-SP4)"
    )
    assert parsers.limits("unlimited\n1024\n") == {"locked_kb": None, "open_files": 1024}
    assert parsers.resolved("10.0.0.2  STREAM n2\n10.0.0.2  DGRAM\n10.1.0.2  STREAM\n") == ["10.0.0.2", "10.1.0.2"]
    assert parsers.pdsh("pdsh-2.34\nrcmd modules: ssh,rsh,exec (default: rsh)\n") == {"version": "2.34", "ssh": True}
    assert parsers.pdsh("pdsh-2.29\nrcmd modules: rsh,exec (default: rsh)\n")["ssh"] is False


def test_free_space_of_a_place_with_blanks() -> None:
    out = "Filesystem     1-blocks  Used Available Capacity Mounted on\ntmpfs  1000 250 750  25% /a b\n"
    assert parsers.free_space(out) == {"size": 1000, "free": 750}


def test_addresses_are_those_of_ipv4_with_their_state() -> None:
    links = [
        {"ifname": "eth0", "flags": ["UP"], "addr_info": [
            {"family": "inet", "local": "10.0.0.1", "prefixlen": 24},
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
        ]},
        {"ifname": "down0", "flags": [], "addr_info": [{"family": "inet", "local": "10.9.0.1", "prefixlen": 8}]},
        {"ifname": "bare", "flags": ["UP"]},
    ]  # fmt: skip
    assert parsers.addresses(json.dumps(links)) == [
        {"interface": "eth0", "address": "10.0.0.1", "prefix": 24, "up": True},
        {"interface": "down0", "address": "10.9.0.1", "prefix": 8, "up": False},
    ]


def test_conda_records_by_their_file_names() -> None:
    out = "history\n_libgcc_mutex-0.1-main.json\nca-certificates-2024.2.2-hbcca054_0.json\n"
    assert parsers.conda_packages(out) == {"_libgcc_mutex": "0.1 main", "ca-certificates": "2024.2.2 hbcca054_0"}


def test_digests_of_files_with_blanks_and_chinese_names() -> None:
    assert parsers.file_digests("ab12  ./a b.json\nsize:99  ./权重.bin\n") == {
        "./a b.json": "ab12",
        "./权重.bin": "size:99",
    }


HOSTILE = ["", "\n\n", "'; echo foo", "节点", "| x |", "=", "[]", "{}", "| 1 |\n| 2 |", "\x00\x01", "a" * 10_000, "-1"]
PARSERS = [
    parsers.npu_smi, parsers.nvidia_gpus, parsers.bm_smi, parsers.ascend_driver, parsers.ascend_firmware,
    parsers.ascend_toolkit, parsers.ascend_kernels, parsers.ascend_components, parsers.nvidia_driver, parsers.nvcc,
    parsers.sophgo_driver, parsers.sophon_library, parsers.limits, parsers.pdsh, parsers.os_release,
]  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize("out", HOSTILE)
def test_foreign_text_is_a_value_error_and_nothing_else(parser, out: str) -> None:
    with pytest.raises(ValueError):
        parser(out)
