"""How far two runs lie apart, on unsmoothed common points. Left is the run, right the reference, the denominator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.alignment import Alignment
from llmctl_reports.values import Column

NEAR_ZERO = 0.05
"""Below this a reference loss is no denominator: such points count in absolute errors only."""
BLOCKS = 10
STUDENT_95_9 = 2.262
"""Two-sided 95 % quantile of Student's t with BLOCKS - 1 degrees of freedom."""
TAIL = 0.1
"""The share of the points at the end that tells of a drift."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Pointwise errors, as magnitudes."""

    max: float | None = None
    mean: float | None = None
    max_step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Bias:
    """The signed mean error over the mean of the reference, with its 95 % interval; None with fewer than ten points."""

    points: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All numbers of a comparison; None where there is nothing to compute them from."""

    points: int = 0
    abs_error: Spread = Spread()
    rel_error: Spread = Spread()
    """|left - right| / |right|, points with a reference near zero left out."""
    near_zero: int = 0
    """How many were left out."""
    near_zero_error: float | None = None
    """The mean absolute error of those."""
    mean_left: float | None = None
    mean_right: float | None = None
    mean_rel_error: float | None = None
    """|mean left - mean right| / |mean right|, over all common points."""
    bias: Bias = Bias()
    """Over all common points."""
    gated_bias: Bias = Bias()
    """Points with a reference near zero left out."""
    first_abs_error: float | None = None
    first_rel_error: float | None = None
    """Of the first common point: the forward pass alone, if both began with the same weights."""
    tail_rel_error: float | None = None
    """Relative error of the mean over the last tenth of the points."""
    p95_rel_error: float | None = None
    beyond: dict[float, int] | None = None
    """How many points have a relative error beyond 2 %, 5 %."""
    grad_norm_rel_error: float | None = None
    """Mean relative error of the gradient norm, where both logs have one."""


def statistics(alignment: Alignment) -> Statistics:
    """Errors of the left against the right."""
    left, right = alignment.left, alignment.right
    if not left.size:
        return Statistics()
    errors = left - right
    usable = np.abs(right) >= NEAR_ZERO
    relative = np.abs(errors[usable]) / np.abs(right[usable])
    mean_left, mean_right = float(left.mean()), float(right.mean())
    first = float(abs(errors[0]))
    tail = slice(left.size - max(1, round(TAIL * left.size)), None)
    return Statistics(
        points=left.size,
        abs_error=_spread(np.abs(errors), alignment.steps),
        rel_error=_spread(relative, alignment.steps[usable]),
        near_zero=int((~usable).sum()),
        near_zero_error=float(np.abs(errors[~usable]).mean()) if not usable.all() else None,
        mean_left=mean_left,
        mean_right=mean_right,
        mean_rel_error=_share(abs(mean_left - mean_right), mean_right),
        bias=_bias(errors, right),
        gated_bias=_bias(errors[usable], right[usable]),
        first_abs_error=first,
        first_rel_error=first / abs(float(right[0])) if usable[0] else None,
        tail_rel_error=_share(abs(float(errors[tail].mean())), float(right[tail].mean())),
        p95_rel_error=float(np.percentile(relative, 95)) if relative.size else None,
        beyond={limit: int((relative > limit).sum()) for limit in (0.02, 0.05)} if relative.size else None,
        grad_norm_rel_error=_norms(alignment.grad_norms),
    )


def relative_errors(alignment: Alignment) -> tuple[NDArray[np.int64], Column]:
    """Steps and signed relative errors, points with a reference near zero left out."""
    usable = np.abs(alignment.right) >= NEAR_ZERO
    left, right = alignment.left[usable], alignment.right[usable]
    return alignment.steps[usable], (left - right) / np.abs(right)


def _spread(errors: Column, steps: NDArray[np.int64]) -> Spread:
    if not errors.size:
        return Spread()
    return Spread(max=float(errors.max()), mean=float(errors.mean()), max_step=int(steps[errors.argmax()]))


def _bias(errors: Column, right: Column) -> Bias:
    """The interval is from the means of ten blocks of consecutive points, whose sizes differ by at most one:
    neighbours are no independent draws."""
    scale = abs(float(right.mean())) if right.size else 0.0
    if not scale:
        return Bias(points=errors.size)
    centre = float(errors.mean())
    if errors.size < BLOCKS:
        return Bias(points=errors.size, mean=centre / scale)
    means = np.array([block.mean() for block in np.array_split(errors, BLOCKS)])
    half = STUDENT_95_9 * float(means.std(ddof=1)) / BLOCKS**0.5
    return Bias(points=errors.size, mean=centre / scale, low=(centre - half) / scale, high=(centre + half) / scale)


def _norms(norms: tuple[Column, Column] | None) -> float | None:
    """A column of zeros was not measured."""
    if norms is None:
        return None
    left, right = norms
    both = np.isfinite(left) & np.isfinite(right) & (right != 0)
    if not both.any() or not left[both].any():
        return None
    return float((np.abs(left[both] - right[both]) / np.abs(right[both])).mean())


def _share(value: float, whole: float) -> float | None:
    return value / abs(whole) if whole else None
