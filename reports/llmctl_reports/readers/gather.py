"""Points as they come out of a log, with steps that were done twice."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.values import DUPLICATE, NON_FINITE, SUPERSEDED, Column, Points

EXTRAS = ("epoch", "learning_rate", "grad_norm", "seconds", "tokens")
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

    def extend(self, steps: NDArray[np.int64], losses: Column, **extras: Column) -> None:
        """Many points at once, NaN for what is not logged."""
        if not steps.size:
            return
        ahead = not self._steps or steps[0] > self._steps[-1]
        if not ahead or (np.diff(steps) <= 0).any():
            for row in zip(steps.tolist(), losses.tolist(), *(c.tolist() for c in extras.values()), strict=True):
                step, loss, *more = row
                self.add(step, loss, **dict(zip(extras, more, strict=True)))
            return
        before = len(self._steps)
        self._steps.frombytes(steps.astype(np.int64).tobytes())
        self._losses.frombytes(losses.astype(np.float64).tobytes())
        for name, values in extras.items():
            column = self._extras.setdefault(name, array("d"))
            self._pad(column, before)
            column.frombytes(values.astype(np.float64).tobytes())

    def go_back(self, last: int) -> None:
        """Forget what was logged after step `last`: the trainer resumed there."""
        first = bisect_left(self._steps, last + 1)
        if gone := len(self._steps) - first:
            self.dropped[SUPERSEDED] += gone
        del self._steps[first:]
        for column in (self._losses, *self._extras.values()):
            del column[first:]

    def points(self) -> Points:
        """All points by now. Losses that are not finite are counted and left out."""
        steps = np.array(self._steps, dtype=np.int64)
        losses = np.array(self._losses, dtype=np.float64)
        good = np.isfinite(losses)
        if bad := int((~good).sum()):
            self.dropped[NON_FINITE] += bad
        columns = {name: self._column(name)[good] for name in self._extras}
        known = {name: column for name, column in columns.items() if not np.isnan(column).all()}
        return Points(step=steps[good], loss=losses[good], **known)

    def _has(self, step: int, loss: float) -> bool:
        place = bisect_left(self._steps, step)
        if self._steps[place] != step:
            return False
        old = self._losses[place]
        return old == loss or (math.isnan(old) and math.isnan(loss))

    def _column(self, name: str) -> Column:
        self._pad(self._extras[name], len(self._steps))
        return np.array(self._extras[name], dtype=np.float64)

    @staticmethod
    def _pad(column: array[float], length: int) -> None:
        column.extend([math.nan] * (length - len(column)))
