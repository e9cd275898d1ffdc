"""Several logs as one stream. Clocks of nodes differ, so the order within a log always stays; between logs it follows
the times that their lines begin with. Pure but for the reading of files."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_TIME = re.compile(r"\W{0,2}(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:[.,]\d+)?)")
LONGEST = 64 * 1024
"""Characters of a line; a longer one is told in pieces, so that a log without line ends fills no memory."""


def merged(logs: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """(name, line) of all logs. A line without a time belongs to the one before it; logs without any come one after the
    other."""
    streams = [_timed(name, position, lines) for position, (name, lines) in enumerate(logs.items())]
    for _, _, name, line in heapq.merge(*streams, key=lambda each: each[:2]):
        yield name, line


def _timed(name: str, position: int, lines: Iterable[str]) -> Iterator[tuple[str, int, str, str]]:
    newest = ""
    for line in lines:
        found = _TIME.match(line)
        if found:
            newest = max(newest, f"{found[1]} {found[2].replace(',', '.')}")
        yield newest, position, name, line


def log_files(logs: Path) -> dict[str, list[Path]]:
    """The files of each log below a run's `logs`, by `<node>/<name>.log`: what was rotated away first (`.log.0-99`), by
    its place in the whole log."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(logs.glob("*/*.log*")):
        stem, dot, span = path.name.partition(".log")
        begin, _, end = span.removeprefix(".").partition("-")
        if not span or (begin.isdigit() and end.isdigit()):
            place = int(begin) if span else 1 << 62
            found.setdefault(f"{path.parent.name}/{stem}{dot}", []).append((place, path))
    return {name: [path for _, path in sorted(pieces)] for name, pieces in found.items()}


def lines_of(paths: Iterable[Path]) -> Iterator[str]:
    """The lines of a log's files without their ends."""
    for path in paths:
        with path.open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(LONGEST):
                yield line.rstrip("\r\n")
