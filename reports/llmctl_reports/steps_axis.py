"""Losses of a log on an axis on which every step is equally long: of steps or of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llmctl_reports.values import Column, Places


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
