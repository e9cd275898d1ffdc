"""Iteration lines of Megatron-LM and its relatives: `iteration 10/ 1000 | key: value | ...`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from llmctl_reports.readers.common import floats, shown_names
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import SKIPPED, Column, Meta, RunLog

BEGIN = rb"iteration[ \t:=]+(\d{1,15})[ \t]*/[ \t]*(\d{1,15})[^|\r\n]*\|"
ITERATION = re.compile(BEGIN + rb"([^\r\n]*)")
FIELD = re.compile(rb"\s*(.+?)\s*[:=]\s*(\S+)\s*")
OWN_KEYS = ("elapsed time per iteration", "consumed samples", "lm loss")
"""One of these is in an iteration line of this family; others count iterations too."""

KEYS = {
    "lm loss": "loss",
    "loss": "loss",
    "lm loss 1": "loss",
    "learning rate": "learning_rate",
    "grad norm": "grad_norm",
    "loss scale": "scale",
    "elapsed time per iteration (ms)": "milliseconds",
    "elapsed time per iteration ms": "milliseconds",
    "global batch size": "batch",
    "consumed samples": "samples",
    "consumed tokens": "tokens",
    "number of skipped iterations": "skipped",
}
"""What is taken from a line, by the names that it goes by; of two names of one thing the first in the line counts."""
NAMES = ("step", "total", *dict.fromkeys(KEYS.values()))
NOTHING = rb"(\Z.)?"
"""A group that never matches: what a line lacks."""
LAYOUTS = 64
"""Sequences of keys that are remembered; a log has a handful."""

Row = Sequence[bytes | None]


@dataclass(frozen=True)
class Layout:
    """The keys of a line in their order, as one expression: the lines of a run repeat them."""

    line: re.Pattern[bytes]
    groups: tuple[int, ...]
    """The group of each of NAMES."""
    others: tuple[str, ...]
    """The keys that are none of KEYS."""


@dataclass
class Seen:
    """What the lines say about the run as a whole."""

    total: int | None = None
    batches: list[int] = field(default_factory=list)
    """Every global batch, in the order of its first line."""
    lengths: set[float] = field(default_factory=set)
    """Tokens of a sample."""


def sniff(head: str) -> bool:
    """Whether there is an iteration line."""
    return any(_layout(match[3]) for match in ITERATION.finditer(head.encode()))


def read(source: Source) -> RunLog:
    """All iterations. A line without a loss is a skipped iteration if it says so; else its loss was not finite,
    since some versions leave such a loss out."""
    found, seen = Gathering(), Seen()
    layouts: list[Layout] = []
    for piece in source.pieces():
        if rows := _rows(piece, layouts):
            _take(dict(zip(NAMES, zip(*rows, strict=True), strict=True)), found, seen)
    length = seen.lengths.pop() if len(seen.lengths) == 1 else 0.0
    varying = len(seen.batches) > 1
    return RunLog(
        source=str(source.path),
        format="Megatron",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(
            total_steps=seen.total,
            global_batch=seen.batches[-1] if seen.batches else None,
            varying_batch=varying,
            sequence_length=int(length) if length and length.is_integer() else None,
        ),
        notes=("the global batch changes within this log",) if varying else (),
        unused=shown_names(key for layout in layouts for key in layout.others),
    )


def _rows(piece: bytes, layouts: list[Layout]) -> list[Row]:
    """The texts of NAMES of each iteration line; the layout that fitted last is tried first."""
    rows: list[Row] = []
    place = piece.find(b"iteration")
    while place >= 0:
        match = layouts[0].line.match(piece, place) if layouts else None
        if match is None:
            match = _match(piece, place, layouts)
        if match is not None:
            rows.append(match.group(*layouts[0].groups))
        place = piece.find(b"iteration", match.end() if match else place + 1)
    return rows


def _match(piece: bytes, place: int, layouts: list[Layout]) -> re.Match[bytes] | None:
    """The line by a layout that was seen before or is new, which becomes the first; None for a line of another kind."""
    for number, layout in enumerate(layouts[1:], 1):
        if match := layout.line.match(piece, place):
            layouts.insert(0, layouts.pop(number))
            return match
    line = ITERATION.match(piece, place)
    layout_of_line = _layout(line[3]) if line else None
    match = layout_of_line.line.match(piece, place) if layout_of_line else None
    if layout_of_line and match:
        layouts.insert(0, layout_of_line)
        del layouts[LAYOUTS:]
    return match


def _layout(fields: bytes) -> Layout | None:
    """The layout of a line; None when none of its keys is of this family."""
    parts: list[bytes] = []
    names, others, own = ["step", "total"], list[str](), False
    for part in fields.split(b"|"):
        pair = FIELD.fullmatch(part)
        key = re.sub(r"[_\- ]+", " ", pair[1].decode("utf-8", "replace")).lower() if pair else ""
        own = own or key.startswith(OWN_KEYS)
        name = KEYS.get(key)
        if pair is not None and name is None:
            others.append(pair[1].decode("utf-8", "replace"))
        if pair is None:
            parts.append(rb"[^|\r\n]*")
        elif name is None or name in names:
            parts.append(rb"[ \t]*" + re.escape(pair[1]) + rb"[ \t]*[:=][^|\r\n]*")
        else:
            parts.append(rb"[ \t]*" + re.escape(pair[1]) + rb"[ \t]*[:=][ \t]*([^\s|]+)[ \t]*")
            names.append(name)
    line = re.compile(BEGIN + rb"\|".join(parts) + NOTHING + rb"(?=[\r\n]|\Z)")
    nothing = len(names) + 1
    groups = tuple(names.index(name) + 1 if name in names else nothing for name in NAMES)
    return Layout(line, groups, tuple(others)) if own else None


def _take(columns: dict[str, Row], found: Gathering, seen: Seen) -> None:
    """Add the rows of one piece."""
    seen.total = int(columns["total"][-1] or 0)
    for batch in dict.fromkeys(columns["batch"]):
        size = floats([batch])[0]
        if size > 0 and int(size) not in seen.batches:
            seen.batches.append(int(size))
    steps = np.array(list(map(int, columns["step"])))  # type: ignore[arg-type]
    loss, norm, skipped = (_floats(columns, name) for name in ("loss", "grad_norm", "skipped"))
    samples, tokens = _floats(columns, "samples"), _floats(columns, "tokens")
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = tokens / samples
    seen.lengths.update(np.unique(lengths[np.isfinite(lengths)])[:2].tolist())
    # DeepSpeed's placeholder, where it keeps the norm to itself: a norm of 0 beside a loss scale of -1.
    norm[(norm == 0) & (_floats(columns, "scale") == -1)] = np.nan
    milliseconds = floats([text and text.split(b"/")[0] for text in columns["milliseconds"]])
    missing = np.array([text is None for text in columns["loss"]]) & (skipped > 0)
    found.dropped.update({SKIPPED: int(missing.sum())} if missing.any() else {})
    seconds = np.where(milliseconds > 0, milliseconds / 1000, np.nan)
    taken = {"learning_rate": _floats(columns, "learning_rate"), "grad_norm": norm, "seconds": seconds}
    taken |= {"tokens_seen": tokens} if (tokens > 0).any() else {}
    known = {name: np.where(np.isfinite(column), column, np.nan) for name, column in taken.items()}
    found.extend(steps[~missing], {name: column[~missing] for name, column in ({"loss": loss} | known).items()})


def _floats(columns: dict[str, Row], name: str) -> Column:
    """A column as numbers; one that no line has costs nothing."""
    texts = columns[name]
    return np.full(len(texts), np.nan) if texts[0] is None and not any(texts) else floats(texts)
