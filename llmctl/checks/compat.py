"""Which versions go together, on one node. The tables and their date: compat.json."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from llmctl.checks.facts import Severity
from llmctl.checks.rows import Complaint, Rule, Wanted


@cache
def tables() -> dict[str, Any]:
    """The tables, each with its source."""
    told: dict[str, Any] = json.loads(files("llmctl.checks").joinpath("compat.json").read_text(encoding="utf-8"))
    return told


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.6.0.post3+cpu gives (2, 6, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _package(wanted: Wanted, name: str) -> str | None:
    """A package's version without its build or origin; None where it is not installed or not known."""
    version = wanted.facts.get(f"package.{name}")
    return None if version in (None, "none") else re.split(r"[+@ ]", str(version))[0]


def _torch_npu(wanted: Wanted, _node: str) -> Complaint:
    torch, plugin = _package(wanted, "torch"), _package(wanted, "torch-npu")
    if torch is None or plugin is None or numbers(torch)[:3] == numbers(plugin)[:3]:
        return None
    return Severity.ERROR, f"torch_npu {plugin} is made for another torch than {torch}"


def _cann(wanted: Wanted, _node: str) -> Complaint:
    plugin, toolkit = _package(wanted, "torch-npu"), wanted.facts.get("toolkit.version")
    listed = [cann for cann, plugins in tables()["torch_npu"]["cann"].items() if plugin in plugins]
    if plugin is None or toolkit is None or not listed or _release(toolkit) in listed:
        return None
    return Severity.WARNING, f"torch_npu {plugin} is listed with CANN {', '.join(listed)}, here is {toolkit}"


def _release(cann: str) -> str:
    """8.2.RC1.B150 is a build of 8.2.RC1."""
    return re.sub(r"\.(?:alpha|B|T)\d+$", "", cann)


def _firmware(wanted: Wanted, _node: str) -> Complaint:
    firmware, declared = wanted.facts.get("firmware.version"), wanted.facts.get("driver.declared")
    limits = re.fullmatch(r"\[([\d.]+),([\d.]+)\]", (declared or {}).get("firmware", ""))
    if not firmware or limits is None:
        return None
    low, high, here = numbers(limits[1]), numbers(limits[2]), numbers(firmware)
    if low <= here and here[: len(high)] <= high:
        return None
    return Severity.WARNING, f"the driver declares firmware {limits[1]} to {limits[2]}, here is {firmware}"


def _driver_cann(wanted: Wanted, _node: str) -> Complaint:
    declared, toolkit = wanted.facts.get("driver.declared"), wanted.facts.get("toolkit.declared")
    here = re.match(r"V\d+R\d+C\d+", (declared or {}).get("inner", ""))
    if not toolkit or not toolkit["ranges"] or here is None:
        return None
    # A driver also runs toolkits of its own time and older ones.
    newer = bool(toolkit["own"]) and here[0] >= toolkit["own"]
    if newer or any(first <= here[0] <= last for first, last in toolkit["ranges"]):
        return None
    told = ", ".join(first if first == last else f"{first} to {last}" for first, last in toolkit["ranges"])
    return Severity.WARNING, f"CANN declares drivers of {told}, the driver is of {here[0]}"


def _cuda(wanted: Wanted, _node: str) -> Complaint:
    built = (wanted.facts.get("python.torch") or {}).get("cuda")
    driver, level = wanted.facts.get("driver.version"), wanted.facts.get("driver.cuda")
    if not built:
        return None
    least = tables()["cuda_driver"]["least"].get(built.split(".")[0])
    if least is not None and driver and numbers(driver)[0] < least:
        return (
            Severity.ERROR,
            f"torch is built with CUDA {built}, which needs driver {least} or newer, here is {driver}",
        )
    if level and numbers(built)[0] > numbers(level)[0]:
        return Severity.ERROR, f"torch is built with CUDA {built}, the driver runs CUDA {level}"
    if level and numbers(built) > numbers(level):
        return (
            Severity.INFO,
            f"torch is built with CUDA {built}, the driver's own is {level}: minor version compatibility",
        )
    return None


def _torch_build(wanted: Wanted, _node: str) -> Complaint:
    told = wanted.facts.get("python.torch")
    if not told or told["cuda"] or told["hip"]:
        return None
    return Severity.ERROR, f"torch {told['version']} is built without CUDA"


def _deepspeed(wanted: Wanted, _node: str) -> Complaint:
    torch, deepspeed = _package(wanted, "torch"), _package(wanted, "deepspeed")
    if torch is None or deepspeed is None:
        return None
    for since, least in tables()["deepspeed_torch"]["least"]:
        if numbers(torch) >= numbers(since):
            if numbers(deepspeed) < numbers(least):
                return Severity.WARNING, f"DeepSpeed {deepspeed} cannot be imported with torch {torch}, {least} can"
            return None
    return None


TORCH_NPU = Rule(
    name="compat.torch_npu", judge=_torch_npu,
    also=("package.torch", "package.torch-npu"), severity=Severity.ERROR, source="versions of torch and torch_npu",
    why="the plug-in does not load", remedy="install the torch_npu of the same first three numbers",
)  # fmt: skip
CANN = Rule(
    name="compat.cann", judge=_cann,
    also=("package.torch-npu", "toolkit.version"), severity=Severity.WARNING,
    source="torch_npu, CANN, the maker's table",
    why="operators are missing or slow; a newer CANN often works",
    remedy="install the CANN that is listed (docs/devices.md)",
)  # fmt: skip
FIRMWARE = Rule(
    name="compat.firmware", judge=_firmware,
    also=("firmware.version", "driver.declared"), severity=Severity.WARNING,
    source="the driver's `compatible_version_fw`, the firmware's `Version`",
    why="the device does not start, or falls out under load", remedy="install the firmware of the driver's release",
)  # fmt: skip
DRIVER_CANN = Rule(
    name="compat.driver_cann", judge=_driver_cann,
    also=("driver.declared", "toolkit.declared"), severity=Severity.WARNING,
    source="the driver's `Innerversion`, the toolkit's `compatible_version`",
    why="HCCL fails at its start; mostly a container with a newer CANN than the host's driver",
    remedy="install a driver of the toolkit's release on the host",
)  # fmt: skip
CUDA = Rule(
    name="compat.cuda", judge=_cuda,
    also=("python.torch", "driver.version", "driver.cuda"), severity=Severity.ERROR,
    source="`torch/version.py`, driver version, the maker's table", why="torch finds no GPU",
    remedy="install a newer driver, or a torch that is built with the driver's CUDA",
)  # fmt: skip
TORCH_BUILD = Rule(
    name="compat.torch_build", judge=_torch_build,
    also=("python.torch",), severity=Severity.ERROR, source="`torch/version.py`",
    why="torch finds no GPU", remedy="install a CUDA build of torch in that environment",
)  # fmt: skip
DEEPSPEED = Rule(
    name="compat.deepspeed", judge=_deepspeed,
    also=("package.torch", "package.deepspeed"), severity=Severity.WARNING, source="versions of DeepSpeed and torch",
    why="importing DeepSpeed fails", remedy="install a newer DeepSpeed",
)  # fmt: skip
