"""Points as they come out of a log, with steps that were done twice."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.readers.late import Late, same_loss, with_late
from llmctl_reports.values import CONFLICT, DUPLICATE, NON_FINITE, SUPERSEDED, Column, Points, Segment

LARGEST = 1e100
"""A loss beyond this is as good as infinite: its square is no number any more."""
EXTRAS = ("epoch", "learning_rate", "grad_norm", "seconds", "tokens", "tokens_seen")
"""What a point may have besides its step and loss."""
MOST_SEGMENTS = 1000


class Gathering:
    """Takes points in the order of the log, about eight bytes a value. A step that comes again with the same loss is a
    repeated line; the last step with another loss is a conflict, in which the later line counts. An earlier step with
    another loss begins a new segment: the trainer went back, and what it did before from that step on does not count,
    unless that segment is asked for. An earlier step that is new comes late: lines of many writers have no order."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self._steps = array("q")
        self._losses = array("d")
        self._extras: dict[str, array[float]] = {}
        self._starts = [0]
        """Where each segment begins."""
        self._kept: list[slice] = []
        """What counts of the segments before the last one; their steps ascend from slice to slice."""
        self._late: dict[int, Late] = {}
        self._latest = -math.inf
        """The largest step of these."""
        self._latest = -math.inf
        """The last step that came late."""
        self._gone: list[Late] = []
        """Late points that do not count any more."""

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, loss: float | None, **extras: float | None) -> None:
        """One point; a loss of None was not finite. `extras` are some of EXTRAS."""
        value = math.nan if loss is None else loss
        if step <= self._last():
            before = self._loss(step)
            if before is None:
                self._add_late(Late(step, len(self._steps), value, extras))
                return
            if same_loss(before, value):
                self.dropped[DUPLICATE] += 1
                return
            if len(self._steps) > self._starts[-1] and step == self._steps[-1]:
                self.dropped[CONFLICT] += 1
                self._forget_last()
            else:
                self.go_back(step - 1)
        self._steps.append(step)
        self._losses.append(value)
        for name, extra in extras.items():
            if extra is not None:
                column = self._extras.setdefault(name, array("d"))
                self._pad(column, len(self._steps) - 1)
                column.append(extra)

    def extend(self, steps: NDArray[np.int64], columns: dict[str, Column]) -> None:
        """Many points at once: `loss` and some of EXTRAS, NaN for what is not logged. The columns are taken out of the
        dict one by one, so that millions of points lie in memory once."""
        if not steps.size:
            return
        if steps[0] <= self._last() or (np.diff(steps) <= 0).any():
            names = list(columns)
            for step, *row in zip(steps.tolist(), *(c.tolist() for c in columns.values()), strict=True):
                self.add(step, **dict(zip(names, row, strict=True)))
            return
        before = len(self._steps)
        self._steps.frombytes(np.ascontiguousarray(steps, dtype=np.int64).view(np.uint8).data)
        for name in list(columns):
            column = self._losses if name == "loss" else self._extras.setdefault(name, array("d"))
            self._pad(column, before)
            column.frombytes(np.ascontiguousarray(columns.pop(name), dtype=np.float64).view(np.uint8).data)

    def go_back(self, last: int) -> None:
        """Begin a new segment: the trainer went on from step `last`; what was logged after it does not count."""
        end = len(self._steps)
        if end > self._starts[-1]:
            self._kept.append(slice(self._starts[-1], end))
            self._starts.append(end)
        while self._kept and self._steps[(piece := self._kept[-1]).stop - 1] > last:
            cut = bisect_left(self._steps, last + 1, piece.start, piece.stop)
            self.dropped[SUPERSEDED] += piece.stop - cut
            self._kept[-1:] = [slice(piece.start, cut)] if cut > piece.start else []
        if self._latest <= last:
            return
        for step in [step for step in self._late if step > last]:
            self._gone.append(self._late.pop(step))
            self.dropped[SUPERSEDED] += 1
        self._latest = max(self._late, default=-math.inf)
        self._latest = max(self._late, default=-math.inf)

    def points(self) -> Points:
        """All points that count, and each segment where there are several; nothing can be added afterwards. Losses that
        are not finite are counted and left out."""
        for column in self._extras.values():
            self._pad(column, len(self._steps))
        found, bad = self._points([*self._kept, slice(self._starts[-1], len(self._steps))], list(self._late.values()))
        if bad:
            self.dropped[NON_FINITE] += bad
        segments = self._segments()
        return replace(found, segments=segments) if len(segments) > 1 else found

    def _segments(self) -> tuple[Segment, ...]:
        """What each start logged; nothing of a log that has one only, or goes back as often as no trainer is started:
        then many write it at once."""
        if not 1 < len(self._starts) <= MOST_SEGMENTS:
            return ()
        late = sorted([*self._gone, *self._late.values()], key=lambda each: each.place)
        cuts = [bisect_left(late, start, key=lambda each: each.place) for start in self._starts]
        pieces = zip(pairwise([*self._starts, len(self._steps)]), pairwise([*cuts, len(late)]), strict=True)
        return tuple(
            Segment(*self._points([slice(*piece)], late[slice(*mine)])) for piece, mine in pieces if piece[1] > piece[0]
        )

    def _points(self, pieces: list[slice], late: list[Late]) -> tuple[Points, int]:
        """The points of some pieces and those that came late, and how many of them had no finite loss."""
        steps = _joined(np.frombuffer(self._steps, dtype=np.int64) if self._steps else np.empty(0, np.int64), pieces)
        columns = {"loss": self._losses} | self._extras
        values = {name: _joined(view(column), pieces) for name, column in columns.items()}
        if late:
            steps, values = with_late(steps, values, late)
        good = np.abs(values["loss"]) < LARGEST
        bad = int((~good).sum())
        if bad:
            steps, values = steps[good], {name: column[good] for name, column in values.items()}
        loss = values.pop("loss")
        more: dict[str, Any] = {name: column for name, column in values.items() if not np.isnan(column).all()}
        return Points(step=steps, loss=loss, **more), bad

    def _add_late(self, point: Late) -> None:
        before = self._late.get(point.step)
        if before is not None:
            self.dropped[DUPLICATE if same_loss(before.loss, point.loss) else CONFLICT] += 1
        if before is None or not same_loss(before.loss, point.loss):
            self._late[point.step] = point
            self._latest = max(self._latest, point.step)
            self._latest = max(self._latest, point.step)
        for name in point.extras:
            self._extras.setdefault(name, array("d"))

    def _last(self) -> float:
        """The last step that counts."""
        if len(self._steps) > self._starts[-1]:
            return max(self._steps[-1], self._latest)
        return max(self._steps[self._kept[-1].stop - 1] if self._kept else -math.inf, self._latest)

    def value(self, step: int, name: str) -> float | None:
        """One of EXTRAS at a step; None where that step does not count, or lacks it."""
        place, column = self._place(step), self._extras.get(name)
        if place is None or column is None or place >= len(column) or math.isnan(column[place]):
            return None
        return column[place]

    def _loss(self, step: int) -> float | None:
        """The loss of a step that counts and did not come late."""
        place = self._place(step)
        return None if place is None else self._losses[place]

    def _place(self, step: int) -> int | None:
        """Where a step lies that counts."""
        piece = slice(self._starts[-1], len(self._steps))
        if piece.start == piece.stop or step < self._steps[piece.start]:
            number = bisect_right(self._kept, step, key=lambda kept: self._steps[kept.start])
            if not number:
                return None
            piece = self._kept[number - 1]
        place = bisect_left(self._steps, step, piece.start, piece.stop)
        return place if place < piece.stop and self._steps[place] == step else None

    def _forget_last(self) -> None:
        last = len(self._steps) - 1
        del self._steps[last:]
        for column in (self._losses, *self._extras.values()):
            del column[last:]

    @staticmethod
    def _pad(column: array[float], length: int) -> None:
        column.extend([math.nan] * (length - len(column)))


def view(column: array[float]) -> Column:
    """The same memory as numbers: millions of points are not copied."""
    return np.frombuffer(column, dtype=np.float64) if column else np.empty(0)


def _joined(column: NDArray[Any], pieces: list[slice]) -> NDArray[Any]:
    """The pieces of a column; a single one is no copy."""
    return column[pieces[0]] if len(pieces) == 1 else np.concatenate([column[piece] for piece in pieces])
