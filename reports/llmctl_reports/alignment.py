"""Which points of two logs belong together: by optimizer step, and by blocks where one log has coarser ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from llmctl_reports.values import Record, RunLog

COMPARED = ("global_batch", "world_size", "model", "stage", "method", "precision", "learning_rate", "scheduler", "seed")


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The common points of a run (left) and its reference (right)."""

    steps: tuple[int, ...]
    left: tuple[float, ...]
    right: tuple[float, ...]
    only_left: int
    """Points of the left, after averaging, that the right lacks."""
    only_right: int
    window_left: int
    """Steps between two points of the log."""
    window_right: int
    window: int
    """Steps that one common point stands for; the finer log is averaged over them."""
    differences: dict[str, tuple[str, str]]
    """What both logs tell about their runs, differently: name to (left, right)."""
    notes: tuple[str, ...] = ()

    key = "step"


def align(left: RunLog, right: RunLog) -> Alignment:
    """The common points. A logged loss is the mean over the steps since the point before; where one log has every
    k-th step, the mean of the finer one's k losses is held against it. Nothing is interpolated."""
    window_left, window_right = left.window, right.window
    window = math.lcm(window_left, window_right)
    here = _points(left.records, window_left, window)
    there = _points(right.records, window_right, window)
    if window_left != window and window_right == window:
        here = _blocks(left.records, window_left, _spans(right.records, window_right))
    elif window_right != window and window_left == window:
        there = _blocks(right.records, window_right, _spans(left.records, window_left))
    common = sorted(here.keys() & there.keys())
    return Alignment(
        steps=tuple(common),
        left=tuple(here[step] for step in common),
        right=tuple(there[step] for step in common),
        only_left=len(here) - len(common),
        only_right=len(there) - len(common),
        window_left=window_left,
        window_right=window_right,
        window=window,
        differences=differences(left, right),
        notes=tuple([f"run: {note}" for note in left.notes] + [f"reference: {note}" for note in right.notes]),
    )


def differences(left: RunLog, right: RunLog) -> dict[str, tuple[str, str]]:
    """What both logs tell about their runs and is not the same."""
    found = {}
    for field in fields(left.meta):
        here, there = getattr(left.meta, field.name), getattr(right.meta, field.name)
        if field.name in COMPARED and None not in (here, there) and here != there:
            found[field.name] = (str(here), str(there))
    return found


def _spans(records: Sequence[Record], window: int) -> list[tuple[int, int]]:
    """(last step, number of steps) of each point; after a gap a point still stands for one window only."""
    steps = [record.step for record in records]
    before = [0, *steps]
    return [(step, min(step - old, window)) for old, step in zip(before, steps, strict=False)]


def _points(records: Sequence[Record], own: int, window: int) -> dict[int, float]:
    if own == window:
        return {record.step: record.loss for record in records}
    last = records[-1].step
    return _blocks(records, own, [(end, window) for end in range(window, last + 1, window)])


def _blocks(records: Sequence[Record], own: int, spans: Sequence[tuple[int, int]]) -> dict[int, float]:
    """Means over whole blocks; a block with a missing point gives none."""
    losses = {record.step: record.loss for record in records}
    found = {}
    for end, width in spans:
        wanted = range(end - width + own, end + 1, own)
        if width % own == 0 and all(step in losses for step in wanted):
            found[end] = math.fsum(losses[step] for step in wanted) / len(wanted)
    return found
