"""Tables with a column of steps and one of losses: CSV, TSV, JSON lines, as W&B and many scripts write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmctl_reports.readers.common import finite, number, parsed, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.names import columns_of, unused
from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, RunLog

BOTH = {"step", "loss"}
BLANK = "\ufeff \n"


def sniff(head: str) -> bool:
    """Whether the first row names a step and a loss."""
    first = _first_line(head)
    if first.startswith("{"):
        try:
            row = parsed(first)
        except ValueError:
            return False
        return isinstance(row, dict) and "step" in columns_of(tuple(row))
    return columns_of(tuple(_cells(first))).keys() >= BOTH


def read(source: Source) -> RunLog:
    """All rows with a step and a loss; a row without is one of another kind and is passed over. The first row with
    both says which columns are meant."""
    found = Gathering()
    names: dict[str, tuple[str, ...]] = {}
    layouts: set[tuple[str, ...]] = set()
    others: dict[str, None] = {}
    for row in _rows(source, found):
        keys = tuple(row)
        if not names.keys() >= BOTH:
            names = columns_of(keys)
        if keys not in layouts:
            layouts.add(keys)
            others |= dict.fromkeys(unused(keys, names))
        step, loss = (row.get(names[name][0]) if name in names else None for name in ("step", "loss"))
        at = whole(step)
        if at is None or loss in (None, ""):
            continue
        extras = {name: finite(row.get(mine[0])) for name, mine in names.items() if name not in BOTH}
        extras["tokens_seen"] = extras.get("tokens_seen") or None
        found.add(at, number(loss), **extras)
    several = len(names.get("loss", ())) > 1
    return RunLog(
        source=str(source.path),
        format="table",
        points=found.points(),
        dropped=found.dropped,
        notes=(f"of {len(names['loss'])} columns of losses the first was read: {names['loss'][0]}",) if several else (),
        unused=tuple(others),
    )


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
