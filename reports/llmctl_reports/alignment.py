"""Which points of two logs belong together: by optimizer step, else by samples or tokens, and by blocks where one log
has coarser points."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.values import Column, RunLog

COMPARED = ("global_batch", "world_size", "model", "stage", "method", "precision", "learning_rate", "scheduler", "seed")

Places = NDArray[np.int64]


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
    """What one common point stands for, in units of the key; the finer log is averaged over it."""
    differences: dict[str, tuple[str, str]]
    """What both logs tell about their runs, differently: name to (left, right)."""
    notes: tuple[str, ...] = ()
    grad_norms: tuple[Column, Column] | None = None
    """Of the common points, NaN where one is not logged; None where a log has none or its points were averaged."""


def align(left: RunLog, right: RunLog) -> Alignment:
    """The common points. A logged loss is the mean over the steps since the point before; where one log has every
    k-th step, the mean of the finer one's k losses is held against it. Nothing is interpolated."""
    key, unit_left, unit_right, why = _key(left, right)
    notes = [f"run: {note}" for note in left.notes] + [f"reference: {note}" for note in right.notes]
    notes += [why] if why else []
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
    if key is None:
        common, one, other = common[:0], one[:0], other[:0]
    norms = (left.points.grad_norm, right.points.grad_norm)
    return Alignment(
        key=key,
        places=common,
        steps=common // unit_left,
        left=here.losses[one],
        right=there.losses[other],
        only_left=here.places.size - common.size,
        only_right=there.places.size - common.size,
        window_left=left.window,
        window_right=right.window,
        window=window,
        differences=differences(left, right),
        notes=tuple(notes),
        grad_norms=(norms[0][one], norms[1][other])
        if as_logged and norms[0] is not None and norms[1] is not None
        else None,
    )


def differences(left: RunLog, right: RunLog) -> dict[str, tuple[str, str]]:
    """What both logs tell about their runs and is not the same."""
    found = {}
    for field in fields(left.meta):
        here, there = getattr(left.meta, field.name), getattr(right.meta, field.name)
        if field.name in COMPARED and None not in (here, there) and here != there:
            found[field.name] = (str(here), str(there))
    return found


@dataclass(frozen=True, eq=False)
class Series:
    """Losses by place; each stands for `window` units up to its place."""

    places: Places
    losses: Column
    window: int

    def spans(self) -> tuple[Places, Places]:
        """(place, width) of each point; after a gap a point still stands for one window only."""
        return self.places, np.minimum(np.diff(self.places, prepend=0), self.window)

    def regular(self, window: int) -> Series:
        """Means over every `window` units from the start."""
        ends = np.arange(window, (self.places[-1] if self.places.size else 0) + 1, window, dtype=np.int64)
        return self.means(ends, np.full_like(ends, window))

    def means(self, ends: Places, widths: Places) -> Series:
        """Means over whole blocks that end at `ends`; a block with a missing point gives none."""
        losses = np.full(ends.size, math.nan)
        for rest in np.unique(ends % self.window):
            mine = np.flatnonzero(self.places % self.window == rest)
            asked = np.flatnonzero((ends % self.window == rest) & (widths % self.window == 0))
            places = self.places[mine]
            first = np.searchsorted(places, ends[asked] - widths[asked], side="right")
            last = np.searchsorted(places, ends[asked], side="right")
            whole = (last - first == widths[asked] // self.window) & (last > first)
            bounds = np.stack([first[whole], last[whole]], axis=1).ravel()
            if bounds.size:
                # The zero at the end lets a block reach to the last point.
                sums = np.add.reduceat(np.append(self.losses[mine], 0.0), bounds)[::2]
                losses[asked[whole]] = sums / (last - first)[whole]
        kept = ~np.isnan(losses)
        return Series(ends[kept], losses[kept], self.window)


def _key(left: RunLog, right: RunLog) -> tuple[str | None, int, int, str]:
    """(key, units of a step on the left, on the right, what the reader must know)."""
    here, there = left.meta.global_batch, right.meta.global_batch
    if here is None or there is None:
        unknown = " and ".join(name for name, known in (("the run", here), ("the reference", there)) if known is None)
        return "step", 1, 1, f"the global batch of {unknown} is not in the log: taken to be equal"
    if here == there:
        return "step", 1, 1, ""
    if not (left.meta.varying_batch or right.meta.varying_batch):
        return "samples", here, there, f"the global batches differ ({here} and {there}): compared at equal samples"
    return None, 1, 1, f"the global batches differ ({here} and {there}) and change within a log: nothing to align by"
