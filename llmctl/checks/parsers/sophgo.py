"""Sophgo: bm-smi and the files of the sophon driver."""

from __future__ import annotations

import re
from typing import Any

from llmctl.checks.parsers.text import lines

BUSY_MB = 1024


def bm_smi(out: str) -> list[dict[str, Any]]:
    """`bm-smi --text_format`: one line a chip; health is `Active` or `Fault`."""
    chips = []
    for line in lines(out):
        match = re.match(r"(\S+)\s+(?:PCIE|SOC)\s+chip\d+:\s+\d+\s+\S+\s+(Active|Fault)\b", line)
        if match:
            memory = re.search(r"(\d+)MB\s+(\d+)MB\s*$", line)
            chips.append(
                {
                    "model": match[1],
                    "health": "OK" if match[2] == "Active" else "Fault",
                    "busy": memory is not None and int(memory[1]) > BUSY_MB,
                    "memory_mb": int(memory[2]) if memory else None,
                }
            )
    if not chips:
        raise ValueError("no chip in what bm-smi says")
    return chips


def driver(out: str) -> str:
    """`/proc/bmsophon/driver_version`: `release version:X.Y.Z   release date: ...`."""
    match = re.search(r"release version:\s*(\d+\.\d+\.\d+)", out)
    if match is None:
        raise ValueError("no release version")
    return match[1]


def library(out: str) -> str:
    """The place that `/opt/sophon/libsophon-current` points to: `.../libsophon-X.Y.Z`."""
    match = re.search(r"libsophon-(\d+\.\d+\.\d+)", out)
    if match is None:
        raise ValueError("no libsophon-X.Y.Z")
    return match[1]


def firmware(out: str) -> dict[str, str]:
    """`grep .` of the chips' `boot_loader_version` and `firmware_info`: file below the card -> first line."""
    found: dict[str, str] = {}
    for line in lines(out):
        path, sign, value = line.partition(":")
        if sign and "bmsophon" in path:
            found.setdefault("/".join(path.split("/")[-3:]), value.strip())
    if not found:
        raise ValueError("no version file of a chip")
    return found
