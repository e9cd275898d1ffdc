"""Tables with a column of steps and one of losses: CSV, TSV, JSON lines, as W&B and many scripts write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from llmctl_reports.readers.common import finite, number, objects, parsed, printable, shown_names, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.names import columns_of, unused
from llmctl_reports.readers.source import Source
from llmctl_reports.values import RunLog

BOTH = {"step", "loss"}
BLANK = "\ufeff \n>"
"""What may stand before a row: a mark of Unicode, and what quotes it in Markdown."""
HEADER_REACH = 200
"""Lines in which a table's header is looked for."""
DELIMITERS = (",", "\t", "|", ";")
LAYOUTS = 1000
"""Kinds of rows whose columns are told."""


def sniff(head: str) -> bool:
    """Whether one of the first lines names a step and a loss, or the first is an object with a step."""
    first = head.lstrip(BLANK).split("\n", 1)[0].rstrip("\r")
    if first.startswith("{"):
        try:
            row = parsed(first)
        except ValueError:
            return False
        return isinstance(row, dict) and "step" in columns_of(tuple(row))
    return _header(re.split(r"[\r\n]+", head, maxsplit=HEADER_REACH)) is not None


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
        if keys not in layouts and len(layouts) < LAYOUTS:
            layouts.add(keys)
            others |= dict.fromkeys(unused(keys, names))
        step, loss = (row.get(names[name][0]) if name in names else None for name in ("step", "loss"))
        at = whole(step)
        if at is None or loss in (None, ""):
            continue
        extras = {name: finite(row.get(mine[0])) for name, mine in names.items() if name not in BOTH}
        extras["tokens_seen"] = extras.get("tokens_seen") or None
        found.add(at, number(loss), **extras)
    losses = names.get("loss", ())
    several = f"of {len(losses)} columns of losses the first was read: {printable(losses[0])}" if losses[1:] else ""
    return RunLog(
        source=str(source.path),
        format="table",
        points=found.points(),
        dropped=found.dropped,
        notes=(several,) if several else (),
        unused=shown_names(others),
    )


def _header(lines: Iterable[str]) -> tuple[int, list[str], str] | None:
    """(number of the line, names of the columns, what parts them) of a table; None where there is none."""
    for place, line in enumerate(lines):
        for delimiter in DELIMITERS:
            names = _cells(line, delimiter) if delimiter in line else []
            if columns_of(tuple(names)).keys() >= BOTH:
                return place, names, delimiter
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a row; none of a line that is no row."""
    line = line.strip().strip("|") if delimiter == "|" else line.lstrip(BLANK)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _rows(source: Source, found: Gathering) -> Iterator[Mapping[str, Any]]:
    header = _header(islice(source.lines(), HEADER_REACH))
    if header is None:
        yield from objects(source, found.dropped)
        return
    place, names, delimiter = header
    for line in islice(source.lines(), place + 1, None):
        yield dict(zip(names, _cells(line, delimiter), strict=False))
