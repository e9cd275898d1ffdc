"""Which files of a run go into a bug report, and how much of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEAD = 64 * 1024
TAIL = 192 * 1024
"""Bytes of the beginning and of the end that are taken of a longer file."""
WHOLE = 2 * 1024 * 1024
"""Bytes of a record that is taken whole: half a JSON file is none."""
ALL_LOGS = 4 * 1024 * 1024
"""Bytes of all logs together."""
LONGEST = 4096
"""Characters that a secret may have on a line which is cut in the middle."""
RESULTS = ("*_results.json", "trainer_state.json", "data_summary.json", "config.json")
RECORDS = ("*", "env/*.json", "report/*.json", *(f"output/{name}" for name in RESULTS))
OWN = frozenset({"supervisor.py"})
"""Programs of llmctl itself, which its version names."""
LOGS = ("logs/*/*.log", "output/*.jsonl")


@dataclass(frozen=True)
class Piece:
    """A file's text, in one part or as its head and its tail."""

    name: str
    """Its path in the run folder."""
    parts: tuple[str, ...]
    left_out: int = 0
    """Bytes between the parts."""
    refused: str = ""
    """Why nothing of it is taken."""


def pieces(run: Path) -> Iterator[Piece]:
    """Everything worth sending of a run folder: no weights, no links, nothing that is no text."""
    for path in _matching(run, RECORDS):
        yield _piece(run, path, HEAD, TAIL, WHOLE)
    logs = _matching(run, LOGS)
    share = max(8 * 1024, ALL_LOGS // max(1, len(logs)))
    for path in logs:
        yield _piece(run, path, min(HEAD, share // 4), min(TAIL, share * 3 // 4))


def _matching(run: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = {path for pattern in patterns for path in run.glob(pattern) if path.is_symlink() or path.is_file()}
    return sorted(path for path in found if path.name not in OWN)


def _piece(run: Path, path: Path, head: int, tail: int, whole: int = 0) -> Piece:
    name = str(path.relative_to(run))
    if path.is_symlink():
        return Piece(name, (), refused="is a link")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= max(whole, head + tail):
                parts = [file.read()]
            else:
                first = file.read(head)
                file.seek(size - tail)
                parts = [_to_last_line(first), _from_first_line(file.read())]
    except OSError as error:
        return Piece(name, (), refused=str(error.strerror))
    if any(b"\0" in part for part in parts):
        return Piece(name, (), refused="is no text")
    left_out = max(0, size - sum(map(len, parts)))
    return Piece(name, tuple(part.decode("utf-8", "replace") for part in parts), left_out if len(parts) > 1 else 0)


def _to_last_line(data: bytes) -> bytes:
    """Without a line that was cut off, in which half a secret could stand unrecognised."""
    end = data.rfind(b"\n") + 1
    return data[:end] if end else data[: max(0, len(data) - LONGEST)]


def _from_first_line(data: bytes) -> bytes:
    start = data.find(b"\n") + 1
    return data[start:] if start else data[LONGEST:]
