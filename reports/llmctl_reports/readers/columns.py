"""Tables with a column of steps and one of losses: CSV, TSV, JSON lines, as W&B and many scripts write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmctl_reports.readers.common import TOKENS_SEEN, finite, number, parsed, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, Meta, RunLog

NAMES = {
    "step": ("step", "_step", "global_step", "iteration", "iter", "trainer/global_step", "train/global_step"),
    "loss": ("loss", "train_loss", "train/loss", "training_loss", "lm loss", "lm_loss"),
    "epoch": ("epoch", "train/epoch"),
    "learning_rate": ("learning_rate", "lr", "train/learning_rate"),
    "grad_norm": ("grad_norm", "train/grad_norm"),
    "seconds": ("step_time", "seconds", "step_seconds"),
    "tokens": ("tokens",),
    "tokens_seen": (*TOKENS_SEEN, *(f"train/{name}" for name in TOKENS_SEEN)),
}
"""Our column by the names that it goes by, in lower case; W&B's exports put the run's name and ` - ` before."""

BLANK = "\ufeff \n"


def sniff(head: str) -> bool:
    """Whether the first row names a step and a loss."""
    first = _first_line(head)
    if first.startswith("{"):
        try:
            row = parsed(first)
        except ValueError:
            return False
        return isinstance(row, dict) and "step" in _named(row)
    return {"step", "loss"} <= _named(dict.fromkeys(_cells(first))).keys()


def read(source: Source) -> RunLog:
    """All rows with a step; a row without a loss is one of another kind and is passed over."""
    found = Gathering()
    for row in _rows(source, found):
        names = _named(row)
        step = whole(row[names["step"]]) if "step" in names else None
        if step is None or "loss" not in names or row[names["loss"]] in (None, ""):
            continue
        extras = {name: finite(row[names[name]]) for name in NAMES if name in names and name not in ("step", "loss")}
        extras["tokens_seen"] = extras.get("tokens_seen") or None
        found.add(step, number(row[names["loss"]]), **extras)
    return RunLog(source=str(source.path), format="table", points=found.points(), dropped=found.dropped, meta=Meta())


def _first_line(text: str) -> str:
    return re.split(r"[\r\n]", text.lstrip(BLANK), maxsplit=1)[0]


def _cells(line: str) -> list[str]:
    """The cells of a row; none of a line that is no row."""
    try:
        return next(csv.reader([line], delimiter="\t" if "\t" in line else ","), [])
    except csv.Error:
        return []


def _rows(source: Source, found: Gathering) -> Iterator[Mapping[str, Any]]:
    first = _first_line(source.head)
    lines = (line.lstrip(BLANK) for line in source.lines())
    if not first.startswith("{"):
        names = _cells(next(lines, ""))
        yield from (dict(zip(names, _cells(line), strict=False)) for line in lines)
        return
    for line in lines:
        try:
            row = parsed(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield row
        else:
            found.dropped[BROKEN] += 1


def _named(row: Mapping[str, Any]) -> dict[str, str]:
    """Our name -> the table's."""
    found: dict[str, str] = {}
    for key in row:
        plain = str(key).strip().lower().rpartition(" - ")[2]
        for name, spellings in NAMES.items():
            if plain in spellings:
                found.setdefault(name, key)
    return found
