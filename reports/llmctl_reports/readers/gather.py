"""Points as they come out of a log, with steps that were done twice."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.values import DUPLICATE, NON_FINITE, SUPERSEDED, Column, Points

LARGEST = 1e100
"""A loss beyond this is as good as infinite: its square is no number any more."""
EXTRAS = ("epoch", "learning_rate", "grad_norm", "seconds", "tokens", "tokens_seen")
"""What a point may have besides its step and loss."""


class Gathering:
    """Takes points in the order of the log, about eight bytes a value. A step that comes again with the same loss is a
    repeated line; with another loss the trainer went back, and what it did before from that step on does not count."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self._steps = array("q")
        self._losses = array("d")
        self._extras: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, loss: float | None, **extras: float | None) -> None:
        """One point; a loss of None was not finite. `extras` are some of EXTRAS."""
        value = math.nan if loss is None else loss
        if self._steps and step <= self._steps[-1]:
            if self._has(step, value):
                self.dropped[DUPLICATE] += 1
                return
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
        ahead = not self._steps or steps[0] > self._steps[-1]
        if not ahead or (np.diff(steps) <= 0).any():
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
        """Forget what was logged after step `last`: the trainer resumed there."""
        first = bisect_left(self._steps, last + 1)
        if gone := len(self._steps) - first:
            self.dropped[SUPERSEDED] += gone
        del self._steps[first:]
        for column in (self._losses, *self._extras.values()):
            del column[first:]

    def points(self) -> Points:
        """All points; nothing can be added afterwards. Losses that are not finite are counted and left out."""
        for column in self._extras.values():
            self._pad(column, len(self._steps))
        steps = np.frombuffer(self._steps, dtype=np.int64) if self._steps else np.empty(0, dtype=np.int64)
        columns = {"loss": view(self._losses)} | {name: view(column) for name, column in self._extras.items()}
        good = np.abs(columns["loss"]) < LARGEST
        if bad := int((~good).sum()):
            self.dropped[NON_FINITE] += bad
            steps, columns = steps[good], {name: column[good] for name, column in columns.items()}
        loss = columns.pop("loss")
        return Points(step=steps, loss=loss, **{name: c for name, c in columns.items() if not np.isnan(c).all()})

    def _has(self, step: int, loss: float) -> bool:
        place = bisect_left(self._steps, step)
        if self._steps[place] != step:
            return False
        old = self._losses[place]
        return old == loss or (math.isnan(old) and math.isnan(loss))

    @staticmethod
    def _pad(column: array[float], length: int) -> None:
        column.extend([math.nan] * (length - len(column)))


def view(column: array[float]) -> Column:
    """The same memory as numbers: millions of points are not copied."""
    return np.frombuffer(column, dtype=np.float64) if column else np.empty(0)
