"""How far two runs lie apart, on unsmoothed common points. Left is the run, right the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.alignment import Alignment

NEAR_ZERO = 0.05
"""Below this a reference loss is no denominator: such points count in absolute errors only."""
BLOCKS = 10
STUDENT_95_9 = 2.262157
"""Two-sided 95 % quantile of Student's t with BLOCKS - 1 degrees of freedom."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Pointwise errors, as magnitudes."""

    max: float | None = None
    mean: float | None = None
    max_step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All numbers of a comparison; None where there is nothing to compute them from."""

    points: int
    abs_error: Spread
    rel_error: Spread
    """|left - right| / |right|, points with a reference near zero left out."""
    near_zero: int
    """How many were left out."""
    mean_left: float | None = None
    mean_right: float | None = None
    mean_rel_error: float | None = None
    """|mean left - mean right| / |mean right|, over all common points."""
    bias: float | None = None
    """(mean left - mean right) / |mean right|: the same with its sign."""
    bias_low: float | None = None
    bias_high: float | None = None
    """95 % interval of the bias, from the means of ten blocks of consecutive points."""


def statistics(alignment: Alignment) -> Statistics:
    """Errors of the left against the right."""
    left, right = np.array(alignment.left, dtype=np.float64), np.array(alignment.right, dtype=np.float64)
    if not left.size:
        return Statistics(points=0, abs_error=Spread(), rel_error=Spread(), near_zero=0)
    steps = np.array(alignment.steps)
    errors = left - right
    usable = np.abs(right) >= NEAR_ZERO
    relative = np.abs(errors[usable]) / np.abs(right[usable])
    mean_left, mean_right = float(left.mean()), float(right.mean())
    scale = abs(mean_right)
    low, high = _interval(errors)
    return Statistics(
        points=left.size,
        abs_error=_spread(np.abs(errors), steps),
        rel_error=_spread(relative, steps[usable]),
        near_zero=int((~usable).sum()),
        mean_left=mean_left,
        mean_right=mean_right,
        mean_rel_error=abs(mean_left - mean_right) / scale if scale else None,
        bias=(mean_left - mean_right) / scale if scale else None,
        bias_low=low / scale if scale and low is not None else None,
        bias_high=high / scale if scale and high is not None else None,
    )


def relative_errors(alignment: Alignment) -> tuple[list[int], list[float]]:
    """Steps and signed relative errors, points with a reference near zero left out; for the picture."""
    kept = [
        (step, (a - b) / abs(b))
        for step, a, b in zip(alignment.steps, alignment.left, alignment.right, strict=True)
        if abs(b) >= NEAR_ZERO
    ]
    return [step for step, _ in kept], [error for _, error in kept]


def _spread(errors: NDArray[np.float64], steps: NDArray[np.int64]) -> Spread:
    if not errors.size:
        return Spread()
    return Spread(max=float(errors.max()), mean=float(errors.mean()), max_step=int(steps[errors.argmax()]))


def _interval(errors: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Interval of the mean; blocks of consecutive points, since neighbours are no independent draws."""
    if errors.size < BLOCKS:
        return None, None
    means = np.array([block.mean() for block in np.array_split(errors, BLOCKS)])
    half = STUDENT_95_9 * float(means.std(ddof=1)) / BLOCKS**0.5
    return float(errors.mean()) - half, float(errors.mean()) + half
