"""Each parser on text in its tool's layout, and on text that is not its tool's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.checks.parsers import ascend, host, nvidia, python, sophgo, text

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
    assert shown(ascend.npu_smi(read(name))) == devices


def test_npu_smi_that_fails_says_why() -> None:
    with pytest.raises(ValueError, match="dcmi module initialize failed"):
        ascend.npu_smi("dcmi module initialize failed. ret is -8005\n")


def test_nvidia_smi_with_units_and_without_memory() -> None:
    told = shown(nvidia.gpus(read("nvidia-smi_query.csv")))
    assert told == [("NVIDIA H200", "OK", False), ("NVIDIA H200", "OK", True), ("NVIDIA GB10", "OK", False)]


@pytest.mark.parametrize("out", ["", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"])
def test_nvidia_smi_that_fails(out: str) -> None:
    with pytest.raises(ValueError):
        nvidia.gpus(out)


def test_bm_smi_knows_active_faulty_and_busy_chips() -> None:
    told = shown(sophgo.bm_smi(read("bm-smi_text.txt")))
    assert told == [("1684X-SC7", "OK", False), ("1684X-SC7", "OK", True), ("1684X-SC7", "Fault", False)]


@pytest.mark.parametrize(
    ("parser", "name", "value"),
    [
        (ascend.driver_version, "driver_version.info", "25.0.rc1.1"),
        (ascend.firmware, "firmware_version.info", "7.7.0.1.231"),
        (ascend.toolkit, "ascend_toolkit_install.info", "8.2.RC1"),
        (ascend.package_release, "opp_kernel_version.info", "8.2.RC1"),
        (
            ascend.components,
            "version.cfg",
            {"runtime": "8.2.RC1", "runtime installed": "8.2.RC1", "opp_kernel": "8.2.RC1"},
        ),
    ],
)
def test_ascend_version_files(parser, name: str, value) -> None:
    assert parser(read(name)) == value


def test_the_package_version_wins_and_is_not_needed() -> None:
    assert ascend.driver_version("Version=7.35.23\npackage_version=26.0.rc1\n") == "26.0.rc1"
    assert ascend.driver_version("Version=24.1.rc1\nInnerversion=V100R001C15\n") == "24.1.rc1"


def test_innerversion_is_never_taken_for_the_version() -> None:
    with pytest.raises(ValueError, match="no version"):
        ascend.toolkit("innerversion=V100R001C22SPC001B231\n")


def test_a_key_with_two_values_is_unknown() -> None:
    with pytest.raises(ValueError, match="stands twice: 1 and 2"):
        text.key_values("version=1\nversion=2\n")
    assert text.key_values("version=1\nversion=1\n") == {"version": "1"}


def test_small_tools() -> None:
    assert nvidia.kernel_module("NVRM version: NVIDIA UNIX x86_64 Kernel Module  440.33.01  Wed\n") == "440.33.01"
    open_module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
    assert nvidia.kernel_module(open_module) == "570.86.15"
    assert nvidia.nvcc("Cuda compilation tools, release 12.4, V12.4.131\n") == "12.4"
    assert sophgo.driver("release version:0.5.1   release date: 20240401-1\n") == "0.5.1"
    assert sophgo.library("/opt/sophon/libsophon-0.5.1\n") == "0.5.1"
    assert host.os_release('NAME="openEuler"\nPRETTY_NAME="openEuler 22.03 (LTS-SP4)"\n') == "openEuler 22.03 (LTS-SP4)"
    assert host.limits("unlimited\n1024\n") == {"locked_kb": None, "open_files": 1024}
    assert host.resolved("10.0.0.2  STREAM n2\n10.0.0.2  DGRAM\n10.1.0.2  STREAM\n") == ["10.0.0.2", "10.1.0.2"]
    assert host.pdsh("pdsh-2.34\nrcmd modules: ssh,rsh,exec (default: rsh)\n") == {
        "version": "2.34",
        "ssh": True,
        "default": "rsh",
    }
    assert host.pdsh("pdsh-2.29\nrcmd modules: rsh,exec (default: rsh)\n")["ssh"] is False


def test_free_space_of_a_place_with_blanks() -> None:
    out = "Filesystem     1-blocks  Used Available Capacity Mounted on\ntmpfs  1000 250 750  25% /a b\n"
    assert host.free_space(out) == {"size": 1000, "free": 750}


def test_addresses_are_those_of_ipv4_with_their_state() -> None:
    links = [
        {"ifname": "eth0", "flags": ["UP"], "mtu": 1500, "addr_info": [
            {"family": "inet", "local": "10.0.0.1", "prefixlen": 24},
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
        ]},
        {"ifname": "down0", "flags": [], "addr_info": [{"family": "inet", "local": "10.9.0.1", "prefixlen": 8}]},
        {"ifname": "bare", "flags": ["UP"]},
    ]  # fmt: skip
    assert host.addresses(json.dumps(links)) == [
        {"interface": "eth0", "address": "10.0.0.1", "prefix": 24, "up": True, "mtu": 1500},
        {"interface": "down0", "address": "10.9.0.1", "prefix": 8, "up": False, "mtu": None},
    ]


def test_conda_records_by_their_file_names() -> None:
    out = "history\n_libgcc_mutex-0.1-main.json\nca-certificates-2024.2.2-hbcca054_0.json\n"
    assert python.conda_packages(out) == {"_libgcc_mutex": "0.1 main", "ca-certificates": "2024.2.2 hbcca054_0"}


HOSTILE = ["", "\n\n", "'; echo foo", "节点", "| x |", "=", "[]", "{}", "| 1 |\n| 2 |", "\x00\x01", "a" * 10_000, "-1"]
PARSERS = [
    ascend.npu_smi, nvidia.gpus, sophgo.bm_smi, ascend.driver_version, ascend.firmware,
    ascend.toolkit, ascend.package_release, ascend.components, nvidia.kernel_module, nvidia.nvcc,
    sophgo.driver, sophgo.library, host.limits, host.pdsh, host.os_release,
]  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize("out", HOSTILE)
def test_foreign_text_is_a_value_error_and_nothing_else(parser, out: str) -> None:
    with pytest.raises(ValueError):
        parser(out)
