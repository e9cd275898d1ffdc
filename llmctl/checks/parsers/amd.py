"""AMD: rocm-smi. Keys are read without regard to case; their spelling changed between releases."""

from __future__ import annotations

import csv
import json
import re
from typing import Any


def cards(out: str) -> list[dict[str, Any]]:
    """`rocm-smi --showproductname --showmeminfo vram` with `--json` or `--csv`: {model, health, busy, memory_mb} a
    card. A card counts as busy when over 1 GiB of its memory is in use."""
    found = []
    for name, values in sorted(_devices(out).items()):
        if not re.fullmatch(r"card\d+", name):
            continue
        total, used = (_mib(values.get(f"vram total {kind}memory (b)")) for kind in ("", "used "))
        model = values.get("card series") or values.get("card model") or ""
        found.append({"model": model, "health": "OK", "busy": used is not None and used > 1024, "memory_mb": total})
    if not found:
        raise ValueError("no card in what rocm-smi says")
    return found


def driver(out: str) -> str:
    """`rocm-smi --showdriverversion` with `--json` or `--csv`; without the DKMS module this is the kernel's release."""
    for values in _devices(out).values():
        if values.get("driver version"):
            return values["driver version"]
    raise ValueError("no driver version")


def _devices(out: str) -> dict[str, dict[str, str]]:
    if out.lstrip().startswith("{"):
        try:
            told = json.loads(out)
        except ValueError as error:
            raise ValueError(f"not the JSON of rocm-smi: {error}") from None
        return {
            str(name): {str(key).lower(): str(value) for key, value in values.items()}
            for name, values in told.items()
            if isinstance(values, dict)
        }
    rows = list(csv.reader(line for line in out.splitlines() if line.strip()))
    if not rows or rows[0][0].lower() != "device":
        raise ValueError("not what rocm-smi says")
    heads = [head.lower() for head in rows[0]]
    return {row[0]: dict(zip(heads, row, strict=False)) for row in rows[1:]}


def _mib(value: str | None) -> int | None:
    return int(value) // 1024**2 if value and value.isdecimal() else None
