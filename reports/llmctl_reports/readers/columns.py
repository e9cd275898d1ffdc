"""Tables with a column of steps and one of losses: CSV, TSV, JSON lines, as W&B and many scripts write them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmctl_reports.readers.common import finite, number, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.values import BROKEN, Meta, RunLog

NAMES = {
    "step": ("step", "_step", "global_step", "iteration", "iter", "trainer/global_step", "train/global_step"),
    "loss": ("loss", "train_loss", "train/loss", "training_loss", "lm loss", "lm_loss"),
    "epoch": ("epoch", "train/epoch"),
    "learning_rate": ("learning_rate", "lr", "train/learning_rate"),
    "grad_norm": ("grad_norm", "train/grad_norm"),
    "seconds": ("step_time", "seconds", "step_seconds"),
    "tokens": ("tokens",),
}
"""Our column by the names that it goes by, in lower case; W&B's exports put the run's name and ` - ` before."""


def sniff(text: str) -> bool:
    """Whether the first row names a step and a loss."""
    return _is_table(text)


def read(text: str, path: Path) -> RunLog:
    """All rows with a step; a row without a loss is one of another kind and is passed over."""
    found = Gathering()
    for row in _rows(text, found):
        names = _named(row)
        step = whole(row.get(names.get("step", "")))
        if step is None or row.get(names.get("loss", "")) in (None, ""):
            continue
        extras = {name: finite(row[names[name]]) for name in NAMES if name in names and name not in ("step", "loss")}
        found.add(step, number(row[names["loss"]]), **extras)
    return RunLog(source=str(path), format="table", points=found.points(), dropped=found.dropped, meta=Meta())


def _is_table(text: str) -> bool:
    first = text.lstrip("\ufeff \n").split("\n", 1)[0]
    if first.startswith("{"):
        try:
            row = json.loads(first)
        except ValueError:
            return False
        return isinstance(row, dict) and "step" in _named(row)
    cells = next(csv.reader([first], delimiter="\t" if "\t" in first else ","), [])
    return {"step", "loss"} <= _named(dict.fromkeys(cells)).keys()


def _rows(text: str, found: Gathering) -> Iterator[Mapping[str, Any]]:
    text = text.lstrip("\ufeff \n")
    if not text.startswith("{"):
        first = text.split("\n", 1)[0]
        yield from csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in first else ",")
        return
    for line in filter(str.strip, text.splitlines()):
        try:
            row = json.loads(line)
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
