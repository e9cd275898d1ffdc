"""Which points of two logs belong together: by optimizer step, else by samples, else by tokens, and by blocks where one
log has coarser points."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from llmctl_reports.alignment_key import chosen_key
from llmctl_reports.steps_axis import Series
from llmctl_reports.tokens_axis import common_blocks, stretches
from llmctl_reports.values import Column, Places, RunLog

COMPARED = ("global_batch", "world_size", "model", "stage", "method", "precision", "learning_rate", "scheduler", "seed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """The common points of a run (left) and its reference (right)."""

    key: str | None
    """What a point's place is counted in: step, samples or tokens; None where the logs have nothing in common."""
    places: Places
    steps: Places
    """The left's optimizer step at each place."""
    left: Column
    right: Column
    only_left: int
    """Points of the left, after averaging, that the right lacks."""
    only_right: int
    window_left: int
    """Steps between two points of the log."""
    window_right: int
    window: int
    """What one common point stands for, in units of the key, by tokens the usual one; the finer log is averaged over
    it."""
    differences: dict[str, tuple[str, str]]
    """What both logs tell about their runs, differently: name to (left, right)."""
    notes: tuple[str, ...] = ()
    from_first_step: bool = False
    """Whether the first common point is the first step of both alone, which only weights and data decide."""
    grad_norms: tuple[Column, Column] | None = None
    """Of the common points, NaN where one is not logged; None where a log has none or its points were averaged."""


@dataclass(frozen=True, eq=False)
class Common:
    """Common points before anything is said about their logs; the names are those of Alignment."""

    places: Places
    steps: Places
    left: Column
    right: Column
    only_left: int
    only_right: int
    window: int
    from_first_step: bool
    rows: tuple[Places, Places] | None
    """The rows of the points in both logs; None where points were averaged."""


def align(left: RunLog, right: RunLog) -> Alignment:
    """The common points. A logged loss is the mean over the steps since the point before; where one log has every
    k-th step, the mean of the finer one's k losses is held against it. Nothing is interpolated."""
    key, unit_left, unit_right, why = chosen_key(left, right)
    match key:
        case None:
            found = _nothing(left, right)
        case "tokens":
            found = _by_tokens(left, right)
        case _:
            found = _by_steps(left, right, unit_left, unit_right)
    notes = [f"run: {note}" for note in left.notes] + [f"reference: {note}" for note in right.notes]
    return Alignment(
        key=key,
        places=found.places,
        steps=found.steps,
        left=found.left,
        right=found.right,
        only_left=found.only_left,
        only_right=found.only_right,
        window_left=left.window,
        window_right=right.window,
        window=found.window,
        from_first_step=found.from_first_step,
        differences=differences(left, right),
        notes=(*notes, *([why] if why else [])),
        grad_norms=_norms(left, right, found.rows),
    )


def _by_steps(left: RunLog, right: RunLog, unit_left: int, unit_right: int) -> Common:
    window_left, window_right = left.window * unit_left, right.window * unit_right
    window = math.lcm(window_left, window_right)
    as_logged = window_left == window == window_right
    here = Series(left.points.step * unit_left, left.points.loss, window_left)
    there = Series(right.points.step * unit_right, right.points.loss, window_right)
    if not as_logged and window_right == window:
        here = here.means(*there.spans())
    elif not as_logged and window_left == window:
        there = there.means(*here.spans())
    elif not as_logged:
        here, there = here.regular(window), there.regular(window)
    common, one, other = np.intersect1d(here.places, there.places, assume_unique=True, return_indices=True)
    return Common(
        places=common,
        steps=common // unit_left,
        left=here.losses[one],
        right=there.losses[other],
        only_left=here.places.size - common.size,
        only_right=there.places.size - common.size,
        window=window,
        from_first_step=bool(common.size and common[0] <= min(unit_left, unit_right)),
        rows=(one, other) if as_logged else None,
    )


def _by_tokens(left: RunLog, right: RunLog) -> Common:
    here, there = stretches(left.points, left.window), stretches(right.points, right.window)
    blocks = common_blocks(here, there)
    rows = (here.rows[blocks.left_points[1] - 1], there.rows[blocks.right_points[1] - 1])
    steps = (left.points.step[rows[0]], right.points.step[rows[1]])
    return Common(
        places=blocks.places,
        steps=steps[0],
        left=blocks.left,
        right=blocks.right,
        only_left=len(left.points) - _covered(blocks.left_points),
        only_right=len(right.points) - _covered(blocks.right_points),
        window=blocks.width,
        from_first_step=bool(steps[0].size and max(steps[0][0], steps[1][0]) <= 1),
        rows=rows if blocks.single else None,
    )


def _covered(points: tuple[Places, Places]) -> int:
    first, last = points
    return int((last - first).sum())


def _nothing(left: RunLog, right: RunLog) -> Common:
    none = np.empty(0, dtype=np.int64)
    return Common(none, none, np.empty(0), np.empty(0), len(left.points), len(right.points), 1, False, None)


def _norms(left: RunLog, right: RunLog, rows: tuple[Places, Places] | None) -> tuple[Column, Column] | None:
    one, other = left.points.grad_norm, right.points.grad_norm
    return (one[rows[0]], other[rows[1]]) if rows is not None and one is not None and other is not None else None


def differences(left: RunLog, right: RunLog) -> dict[str, tuple[str, str]]:
    """What both logs tell about their runs and is not the same."""
    found = {}
    for field in fields(left.meta):
        here, there = getattr(left.meta, field.name), getattr(right.meta, field.name)
        if field.name in COMPARED and None not in (here, there) and here != there:
            found[field.name] = (str(here), str(there))
    return found
