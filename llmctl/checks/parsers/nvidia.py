"""NVIDIA: nvidia-smi, nvcc, the kernel module."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Any

from llmctl.checks.parsers.text import text

BUSY_MIB = 1024
"""Memory in use above which a GPU counts as busy; an idle one with a display or persistence daemon uses less."""


def gpus(out: str) -> list[dict[str, Any]]:
    """`nvidia-smi --query-gpu=... --format=csv` with its header line: {model, driver, busy, health, memory_mb} a GPU.
    Cells may be `[N/A]`."""
    rows = list(csv.reader(out.strip().splitlines(), skipinitialspace=True))
    heads = [head.split(" [")[0] for head in rows[0]] if rows else []
    if "name" not in heads:
        raise ValueError(text(out) if out.strip() else "no output")
    found = []
    for row in rows[1:]:
        values = dict(zip(heads, row, strict=False))
        used, total = _mib(values.get("memory.used")), _mib(values.get("memory.total"))
        found.append(
            {
                "model": values.get("name", ""),
                "driver": values.get("driver_version"),
                "busy": used is not None and used > BUSY_MIB,
                "health": _health(row),
                "memory_mb": total,
            }
        )
    if not found:
        raise ValueError("no GPU in the table")
    return found


def _health(row: Sequence[str]) -> str:
    """What nvidia-smi writes into the cells of a GPU that does not answer."""
    ill = [
        cell.strip("[]") for cell in row if re.search(r"requires reset|Unknown Error|GPU is lost", cell, re.IGNORECASE)
    ]
    return ill[0] if ill else "OK"


def _mib(cell: str | None) -> int | None:
    match = re.match(r"\d+", cell or "")
    return int(match[0]) if match else None


def kernel_module(out: str) -> str:
    """`/proc/driver/nvidia/version`: the driver's version."""
    match = re.search(r"Kernel Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)?)", out)
    if match is None:
        raise ValueError("no NVRM version line")
    return match[1]


def nvcc(out: str) -> str:
    """`nvcc --version`: the release, for example 12.4."""
    match = re.search(r"release (\d+\.\d+)", out)
    if match is None:
        raise ValueError("no release in what nvcc says")
    return match[1]


def cuda_level(out: str) -> str:
    """`nvidia-smi`, with or without -q: the newest CUDA that the driver runs, for example 12.2."""
    match = re.search(r"CUDA Version\s*:\s*(\d+\.\d+)", out)
    if match is None:
        raise ValueError("no CUDA Version")
    return match[1]


def retired_pages(out: str) -> list[dict[str, Any]]:
    """`nvidia-smi -q -d PAGE_RETIREMENT`: {single, double, pending} a GPU; a count that is N/A is None."""
    found = []
    for part in re.split(r"^GPU ", out, flags=re.MULTILINE)[1:]:
        told = {m[1].lower(): m[2] for m in re.finditer(r"(Single|Double) Bit ECC\s*:\s*(\S+)", part)}
        pending = re.search(r"Pending(?: Page Blacklist)?\s*:\s*(\w+)", part)
        if told or pending:
            found.append(
                {
                    "single": int(told["single"]) if told.get("single", "").isdecimal() else None,
                    "double": int(told["double"]) if told.get("double", "").isdecimal() else None,
                    "pending": pending is not None and pending[1] == "Yes",
                }
            )
    if not found:
        raise ValueError("no retired pages section")
    return found


def nvlinks(out: str) -> dict[str, list[str]]:
    """`nvidia-smi nvlink -s`: GPU -> the speed of each link, `inactive` for one that is down. A GPU whose links are all
    down has no link line."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in out.splitlines():
        gpu = re.match(r"\s*GPU (\d+):", line)
        link = re.match(r"\s*Link \d+:\s*(.+?)\s*$", line)
        if gpu:
            current = found.setdefault(gpu[1], [])
        elif link and current is not None:
            current.append("inactive" if "inactive" in link[1] else link[1])
        elif "all links are inactive" in line and current is not None:
            current.append("inactive")
    if not found:
        raise ValueError("no GPU in what nvidia-smi nvlink says")
    return found


def xids(out: str) -> dict[str, int]:
    """Lines of `dmesg` with an Xid: how often each code stands there. No line is no error."""
    counts: dict[str, int] = {}
    for code in re.findall(r"NVRM: Xid \([^)]*\): (\d+)", out):
        counts[code] = counts.get(code, 0) + 1
    return counts
