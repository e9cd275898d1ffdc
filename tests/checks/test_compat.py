"""Versions that go together, on one node."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llmctl.checks import compat
from llmctl.checks.facts import Severity
from llmctl.checks.rows import Complaint, Rule, Wanted


def judged(rule: Rule, **facts: Any) -> Complaint:
    return rule.judge(Wanted(facts={name.replace("__", "."): value for name, value in facts.items()}), "n")


def packages(**versions: str) -> dict[str, Any]:
    return {f"package__{name.replace('_', '-')}": version for name, version in versions.items()}


@pytest.mark.parametrize(
    ("torch", "plugin", "severity"),
    [
        ("2.6.0+cpu", "2.6.0.post3", None),
        ("2.6.0", "2.6.0@editable /opt/npu abc", None),
        ("2.7.1", "2.6.0", Severity.ERROR),
        ("2.6.0", "none", None),
    ],
)
def test_torch_and_its_plugin(torch: str, plugin: str, severity: Severity | None) -> None:
    told = judged(compat.TORCH_NPU, **packages(torch=torch, torch_npu=plugin))
    assert (told[0] if told else None) == severity


def test_cann_is_held_to_the_makers_table() -> None:
    def cann(plugin: str, toolkit: str) -> Complaint:
        return judged(compat.CANN, toolkit__version=toolkit, **packages(torch_npu=plugin))

    assert cann("2.6.0", "8.2.RC1") is None
    assert cann("2.6.0", "8.2.RC1.B150") is None
    assert cann("2.6.0", "8.0.0") == (Severity.WARNING, "torch_npu 2.6.0 is listed with CANN 8.2.RC1, here is 8.0.0")
    assert cann("9.9.9", "8.0.0") is None


@pytest.mark.parametrize(
    ("driver", "severity"),
    [
        ("V100R001C15SPC006B220", None),  # in a range of generations
        ("V100R001C23SPC002B212", None),  # newer than the toolkit
        ("V100R001C10SPC001B001", Severity.WARNING),
        ("", None),
    ],
)
def test_a_drivers_generation(driver: str, severity: Severity | None) -> None:
    toolkit = {"own": "V100R001C19", "ranges": [["V100R001C13", "V100R001C19"], ["V100R001C30", "V100R001C30"]]}
    told = judged(compat.DRIVER_CANN, driver__declared={"inner": driver}, toolkit__declared=toolkit)
    assert (told[0] if told else None) == severity


@pytest.mark.parametrize(
    ("firmware", "fits"), [("7.7.0.1.231", True), ("7.7.99", True), ("7.8.0", False), ("6.9", False)]
)
def test_firmware_within_the_drivers_range(firmware: str, fits: bool) -> None:
    told = judged(compat.FIRMWARE, firmware__version=firmware, driver__declared={"firmware": "[7.0.0,7.7.99]"})
    assert (told is None) == fits


@pytest.mark.parametrize(
    ("cuda", "driver", "level", "severity"),
    [
        ("12.4", "550.54.14", "12.4", None),
        ("12.8", "550.54.14", "12.4", Severity.INFO),
        ("13.0", "570.86.15", "12.8", Severity.ERROR),
        ("12.4", "470.82.01", "11.4", Severity.ERROR),
        (None, "550.54.14", "12.4", None),
    ],
)
def test_torch_cuda_and_the_driver(cuda: str | None, driver: str, level: str, severity: Severity | None) -> None:
    told = judged(compat.CUDA, python__torch={"cuda": cuda}, driver__version=driver, driver__cuda=level)
    assert (told[0] if told else None) == severity


def test_a_cpu_build_on_a_gpu_node() -> None:
    told = judged(compat.TORCH_BUILD, python__torch={"version": "2.6.0+cpu", "cuda": None, "hip": None})
    assert told == (Severity.ERROR, "torch 2.6.0+cpu is built without CUDA")
    assert judged(compat.TORCH_BUILD, python__torch={}) is None


@pytest.mark.parametrize(
    ("torch", "deepspeed", "fits"),
    [("2.0.1", "0.9.2", True), ("2.3.0", "0.9.2", False), ("2.4.0", "0.14.1", False), ("2.13.0", "0.19.8", True)],
)
def test_deepspeed_and_torch(torch: str, deepspeed: str, fits: bool) -> None:
    assert (judged(compat.DEEPSPEED, **packages(torch=torch, deepspeed=deepspeed)) is None) == fits


def test_the_tables_have_a_date_and_sources() -> None:
    tables = compat.tables()
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", tables["dated"])
    assert all(table["source"] for name, table in tables.items() if name != "dated")
