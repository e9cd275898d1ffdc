"""Points of two logs on an axis of tokens, where steps need not have equally many: means over the stretches between the
counts at which both logs have a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.values import Column, Places, Points

SAME_PLACE = 0.05
"""Counts that lie closer than this share of a point's tokens are one place."""


def tokens_seen(points: Points) -> Column | None:
    """The tokens up to each point: as the log counts them, else the sum of its steps' tokens, where it has all steps or
    they have equally many; NaN for a point without. None where the log does not tell, or its count does not rise."""
    seen = points.tokens_seen
    if seen is None and points.tokens is not None:
        gaps = np.diff(points.step, prepend=0)
        if (gaps == 1).all() or np.ptp(points.tokens) == 0:
            seen = np.cumsum(points.tokens * gaps)
    if seen is None:
        return None
    told = seen[np.isfinite(seen)]
    return seen if told.size and told[0] > 0 and (np.diff(told) > 0).all() else None


@dataclass(frozen=True, eq=False)
class Stretches:
    """Losses of a log by the tokens up to them."""

    rows: Places
    """Where each stands among the points of its log."""
    ends: Places
    widths: Places
    """The tokens that a point stands for: those since the point before, and after a gap the share of one window of
    steps."""
    losses: Column

    @property
    def width(self) -> float:
        """The tokens of a usual point."""
        return float(np.median(self.widths)) if self.widths.size else 0.0

    @property
    def bounds(self) -> Places:
        """All places at which a point begins or ends."""
        begins = self.ends - self.widths
        alone = begins[begins != np.concatenate([[-1], self.ends[:-1]])]
        return np.sort(np.concatenate([alone, self.ends]), kind="stable")


@dataclass(frozen=True, eq=False)
class Blocks:
    """What two logs have in common: means over the same tokens."""

    places: Places
    left: Column
    right: Column
    left_points: tuple[Places, Places]
    """The first point of each block, and the one after its last, among the left's points with a count."""
    right_points: tuple[Places, Places]
    width: int
    """The tokens of a usual block."""

    @property
    def single(self) -> bool:
        """Whether every block is one point of each."""
        return all(bool((last - first == 1).all()) for first, last in (self.left_points, self.right_points))


def stretches(points: Points, window: int) -> Stretches:
    """The points of a log, one every `window` steps, that have a count of tokens."""
    seen = tokens_seen(points)
    rows = np.empty(0, dtype=np.int64) if seen is None else np.flatnonzero(np.isfinite(seen))
    ends = rows if seen is None else np.rint(seen[rows]).astype(np.int64)
    share = np.minimum(1, window / np.maximum(1, np.diff(points.step[rows], prepend=0)))
    return Stretches(rows, ends, np.rint(np.diff(ends, prepend=0) * share).astype(np.int64), points.loss[rows])


def common_blocks(left: Stretches, right: Stretches) -> Blocks:
    """Means, weighted by tokens, between neighbouring places that both have; a block in which a log lacks a point is
    left out."""
    here, there = _meetings(left.bounds, right.bounds, SAME_PLACE * min(left.width, right.width))
    first_left, last_left, whole_left = _inside(left, here)
    first_right, last_right, whole_right = _inside(right, there)
    whole = whole_left & whole_right
    one, other = (first_left[whole], last_left[whole]), (first_right[whole], last_right[whole])
    widths = np.diff(here)[whole]
    return Blocks(
        here[1:][whole],
        _means(left, *one),
        _means(right, *other),
        one,
        other,
        int(np.median(widths)) if widths.size else 1,
    )


def _meetings(left: Places, right: Places, reach: float) -> tuple[Places, Places]:
    """The places of the left that the right has too, within `reach`, and the right's own counts of them."""
    if not left.size or not right.size:
        return left[:0], right[:0]
    after = np.searchsorted(right, left).clip(1, max(1, right.size - 1))
    before = after - 1
    after = after.clip(max=right.size - 1)
    nearest = np.where(np.abs(right[after] - left) < np.abs(right[before] - left), after, before)
    gaps = np.abs(right[nearest] - left)
    near = np.flatnonzero(gaps <= reach)
    if not near.size:
        return left[:0], right[:0]
    # Of several places of the left that are near to one of the right, which lie side by side, the nearest counts.
    begins = np.diff(nearest[near], prepend=-1) > 0
    group = np.cumsum(begins) - 1
    least = np.minimum.reduceat(gaps[near], np.flatnonzero(begins))
    best = np.flatnonzero(gaps[near] == least[group])
    kept = near[best[np.diff(group[best], prepend=-1) > 0]]
    return left[kept], right[nearest[kept]]


def _inside(log: Stretches, bounds: Places) -> tuple[Places, Places, NDArray[np.bool_]]:
    """Of each block between two bounds: its first point, the one after its last, and whether it lacks none."""
    first = np.searchsorted(log.ends, bounds[:-1], side="right")
    last = np.searchsorted(log.ends, bounds[1:], side="right")
    up_to = np.concatenate([[0], np.cumsum(log.widths)])
    return first, last, (last > first) & (up_to[last] - up_to[first] == np.diff(bounds))


def _means(log: Stretches, first: Places, last: Places) -> Column:
    if not first.size:
        return np.empty(0)
    bounds = np.stack([first, last], axis=1).ravel()
    # The zero at the end lets a block reach to the last point.
    weighted = np.add.reduceat(np.append(log.losses * log.widths, 0.0), bounds)[::2]
    return np.asarray(weighted / np.add.reduceat(np.append(log.widths, 0), bounds)[::2])
