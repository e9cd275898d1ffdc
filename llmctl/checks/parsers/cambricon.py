"""Cambricon: cnmon."""

from __future__ import annotations

import re
from typing import Any

from llmctl.checks.parsers.text import table


def cards(out: str) -> list[dict[str, Any]]:
    """The cards of `cnmon`: {model, health, busy, memory_mb}. Two rows a card; a card that is not `On` (4.x tells it)
    is ill."""
    found: list[dict[str, Any]] = []
    upper: list[str] | None = None
    for cells in table(out.partition("Processes:")[0]):
        words = cells[0].split()
        if len(cells) == 3 and len(words) >= 4 and words[0].isdecimal():
            upper = cells
        elif upper is not None and len(cells) == 3:
            memory = re.match(r"(\d+) MiB\s*/\s*(\d+) MiB", cells[1])
            state = upper[1].split()[0] if upper[1].split() else ""
            found.append(
                {
                    "model": upper[0].split()[2],
                    "health": "OK" if state == "On" or re.match(r"[0-9a-fA-F]{4}:", state) else state or "unknown",
                    "busy": memory is not None and int(memory[1]) > 1024,
                    "memory_mb": int(memory[2]) if memory else None,
                }
            )
            upper = None
    if not found:
        raise ValueError("no card in what cnmon says")
    return found


def driver(out: str) -> str:
    """The driver's version: in the banner of 5.x, in each card's row of 4.x."""
    banner = re.search(r"Driver v([\d.]+)", out)
    row = re.search(r"\|\s*On\s+v([\d.]+)\s*\|", out)
    match = banner or row
    if match is None:
        raise ValueError("no driver version in what cnmon says")
    return match[1]
