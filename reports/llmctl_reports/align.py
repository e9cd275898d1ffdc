"""Two logs on common steps. Left is the run, right the reference."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.runlog import RunLog, Setup

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """The losses of both sides at the same steps, each the mean over `window` steps, and what has no partner."""

    key: str
    steps: NDArray[np.int64]
    left: Array
    right: Array
    only_left: int
    only_right: int
    window_left: int
    window_right: int
    differences: dict[str, tuple[object, object]]
    """Settings that both logs name and that are not the same: name -> (left, right)."""

    @property
    def common(self) -> int:
        return len(self.steps)

    @property
    def window(self) -> int:
        """Steps that each compared loss is the mean of."""
        return max(self.window_left, self.window_right)


def align(left: RunLog, right: RunLog) -> Aligned:
    """Join by optimizer step. Where one side logs every k steps and the other more often, the finer one is averaged
    over the same k steps; nothing is interpolated."""
    a, b = _losses(left), _losses(right)
    window_a, window_b = left.window, right.window
    only_a, only_b = len(set(a) - set(b)), len(set(b) - set(a))
    if window_a > window_b:
        b = _means(b, sorted(a), window_a, window_b)
    elif window_b > window_a:
        a = _means(a, sorted(b), window_b, window_a)
    steps = sorted(set(a) & set(b))
    if window_a != window_b:
        coarse = left if window_a > window_b else right
        lone = len(coarse.points) - len(steps)
        only_a, only_b = (lone, 0) if coarse is left else (0, lone)
    return Aligned(
        key="step",
        steps=np.array(steps, dtype=np.int64),
        left=np.array([a[step] for step in steps]),
        right=np.array([b[step] for step in steps]),
        only_left=only_a,
        only_right=only_b,
        window_left=window_a,
        window_right=window_b,
        differences=_differences(left.setup, right.setup),
    )


def _losses(log: RunLog) -> dict[int, float]:
    return {point.step: point.loss for point in log.points}


def _means(fine: dict[int, float], wanted: list[int], window: int, own: int) -> dict[int, float]:
    """The finer side's mean over the `window` steps that end at each wanted step; steps that are not whole are left
    out."""
    found = {}
    for end in wanted:
        parts = [fine[step] for step in range(end - window + own, end + 1, own) if step in fine]
        if len(parts) * own == window:
            found[end] = float(np.mean(parts))
    return found


def _differences(left: Setup, right: Setup) -> dict[str, tuple[object, object]]:
    found: dict[str, tuple[object, object]] = {}
    for each in fields(Setup):
        a, b = getattr(left, each.name), getattr(right, each.name)
        if a is not None and b is not None and a != b:
            found[each.name] = (a, b)
    return found
