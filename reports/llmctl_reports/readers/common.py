"""What readers share: numbers in their many spellings, lines of terminals, and steps that were done twice."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmctl_reports.values import DUPLICATE, NON_FINITE, SUPERSEDED, Final, Record

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lines_of(text: str) -> list[str]:
    """The lines of a terminal's output: progress bars return the carriage without a new line; colours go."""
    return re.split(r"[\r\n]+", ANSI.sub("", text))


def number(value: object) -> float | None:
    """A number, also as text with thousands commas; None for what is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(str(value).strip().replace(",", ""))
    except ValueError:
        return None


def finite(value: object) -> float | None:
    """A finite number or None."""
    found = number(value)
    return found if found is not None and math.isfinite(found) else None


def whole(value: object) -> int | None:
    """A whole number or None."""
    found = finite(value)
    return int(found) if found is not None else None


def text_or_none(value: object) -> str | None:
    """A text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def settle(records: Iterable[Record], dropped: Counter[str]) -> tuple[Record, ...]:
    """One record a step, ascending. A step that comes again with the same loss is a repeated line; with another loss
    the trainer went back, and what it did before from that step on does not count. Losses that are not finite are
    counted and left out. Adds to `dropped`."""
    kept: dict[int, Record] = {}
    newest = 0
    for record in records:
        old = kept.get(record.step)
        if old is not None and (old.loss == record.loss or (math.isnan(old.loss) and math.isnan(record.loss))):
            dropped[DUPLICATE] += 1
            continue
        if record.step <= newest:
            supersede(kept, record.step, dropped)
        kept[record.step] = record
        newest = record.step
    good = [record for record in kept.values() if math.isfinite(record.loss)]
    if len(good) < len(kept):
        dropped[NON_FINITE] += len(kept) - len(good)
    return tuple(sorted(good, key=lambda record: record.step))


def supersede(kept: dict[int, Record], first: int, dropped: Counter[str]) -> None:
    """Forget the records from step `first` on."""
    old = [step for step in kept if step >= first]
    for step in old:
        del kept[step]
    if old:
        dropped[SUPERSEDED] += len(old)


def final_of(values: Mapping[str, Any]) -> Final:
    """The final metrics in the names of transformers. A throughput of 0 was not measured."""
    return Final(
        train_loss=finite(values.get("train_loss")),
        train_runtime=finite(values.get("train_runtime")) or None,
        train_samples_per_second=finite(values.get("train_samples_per_second")) or None,
        train_steps_per_second=finite(values.get("train_steps_per_second")) or None,
        epochs=finite(values.get("epoch")),
    )


def final_beside(path: Path) -> Final:
    """The final metrics of `all_results.json` or `train_results.json` beside a log; empty where there are none."""
    for name in ("all_results.json", "train_results.json"):
        file = path.parent / name
        if file.is_file():
            try:
                values = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # the log itself is whole; metrics that cannot be had are shown as a dash
            if isinstance(values, dict):
                return final_of(values)
    return Final()
