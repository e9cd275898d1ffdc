"""The parsers against real outputs of the tools, where that folder is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.checks import parsers

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "env"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of real tool outputs is not there")


def read(name: str) -> str:
    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"no {name} in the folder of real tool outputs")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "count", "model", "ill", "busy"),
    [
        ("npu-smi_info_23.0.rc3.3_910B3_8busy.txt", 8, "910B3", 0, 8),
        ("npu-smi_info_24.1.0_910B_8idle.txt", 8, "910B", 0, 0),
        ("npu-smi_info_24.1.rc2.1_910B2_8idle.txt", 8, "910B2", 0, 0),
        ("npu-smi_info_24.1.rc3.3_910C_8x2chip.txt", 16, "Ascend910", 0, 8),
        ("npu-smi_info_25.2.2_910B4-1_2.txt", 2, "910B4-1", 0, 2),
        ("npu-smi_info_25.6.rc1.b218_950DT.txt", 3, "Ascend950DT", 1, 0),
        ("npu-smi_info_26.0.rc1_910C_wide.txt", 4, "Ascend910", 0, 2),
    ],
)
def test_npu_smi(name: str, count: int, model: str, ill: int, busy: int) -> None:
    devices = parsers.npu_smi(read(f"ascend/{name}"))
    assert len(devices) == count
    assert {device["model"] for device in devices} == {model}
    assert sum(device["health"] != "OK" for device in devices) == ill
    assert sum(device["busy"] for device in devices) == busy


def test_npu_smi_without_a_device_layer() -> None:
    with pytest.raises(ValueError, match="-8005"):
        parsers.npu_smi(read("ascend/npu-smi_info_dcmi_failed.txt"))


@pytest.mark.parametrize(
    ("parser", "name", "value"),
    [
        (parsers.ascend_driver, "driver_version.info_24.1.rc1_no_package_version", "24.1.rc1"),
        (parsers.ascend_driver, "driver_version.info_24.1.rc2.2", "24.1.rc2.2"),
        (parsers.ascend_driver, "driver_version.info_25.0.rc1.1", "25.0.rc1.1"),
        (parsers.ascend_driver, "driver_version.info_25.3.rc1", "25.3.rc1"),
        (parsers.ascend_firmware, "firmware_version.info_7.1.0.11.220", "7.1.0.11.220"),
        (parsers.ascend_firmware, "firmware_version.info_7.7.0.1.231", "7.7.0.1.231"),
        (parsers.ascend_toolkit, "ascend_toolkit_install.info_8.0.0", "8.0.0"),
        (parsers.ascend_toolkit, "ascend_toolkit_install.info_8.0.RC3", "8.0.RC3"),
        (parsers.ascend_toolkit, "ascend_toolkit_install.info_8.2.RC1", "8.2.RC1"),
        (parsers.ascend_toolkit, "ascend_toolkit_install.info_8.5.0_newlayout", "8.5.0"),
        (parsers.ascend_kernels, "opp_kernel_version.info_8.2.RC1", "8.2.RC1"),
        (parsers.ascend_kernels, "opp_version.info_8.5.0_head", "8.5.0"),
    ],
)
def test_ascend_version_files(parser, name: str, value: str) -> None:
    assert parser(read(f"ascend/{name}")) == value


def test_ascend_components_of_one_release() -> None:
    assert set(parsers.ascend_components(read("ascend/version.cfg_8.0.RC2")).values()) == {"8.0.RC2"}


def test_the_install_pointer() -> None:
    values = parsers.key_values(read("ascend/etc_ascend_install.info"))
    assert values["Driver_Install_Path_Param"].startswith("/")


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("query_gpu_a100.csv", ["NVIDIA A100-SXM4-40GB"]),
        ("query_gpu_a5500_bus.csv", ["NVIDIA RTX A5500 Laptop GPU"]),
        ("query_gpu_l4_power.csv", ["NVIDIA L4"]),
        ("query_gpu_p100_uuid.csv", ["Tesla P100-PCIE-16GB"]),
        ("query_gpu_rtx6000ada_x2.csv", ["NVIDIA RTX 6000 Ada Generation"] * 2),
    ],
)
def test_nvidia_smi(name: str, models: list[str]) -> None:
    assert [gpu["model"] for gpu in parsers.nvidia_gpus(read(f"nvidia/{name}"))] == models


def test_nvidia_versions() -> None:
    assert parsers.nvidia_driver(read("nvidia/proc_driver_version_440.txt")) == "440.33.01"
    assert parsers.nvcc(read("nvidia/nvcc_version_12.4.txt")) == "12.4"


def test_bm_smi() -> None:
    chips = parsers.bm_smi(read("sophgo/bm-smi_text_format_SC5plus.txt"))
    assert [(chip["model"], chip["health"], chip["busy"]) for chip in chips] == [("1684-SC5+", "OK", False)] * 3


def test_host_tools() -> None:
    interfaces = {entry["interface"] for entry in parsers.addresses(read("host/ip_j_addr.json"))}
    assert {"lo", "eth0"} <= interfaces
    assert parsers.os_release(read("host/os-release_debian12")) == "Debian GNU/Linux 12 (bookworm)"
    assert parsers.resolved(read("host/getent_hostname.txt")) == ["127.0.0.1"]
    assert parsers.text(read("host/getconf_glibc.txt")) == "glibc 2.36"
