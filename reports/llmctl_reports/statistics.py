"""What two aligned loss curves say about each other. Definitions: docs/statistics.md. Always on unsmoothed values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmctl_reports.align import Aligned, Array

NEAR_ZERO = 0.05
"""Below this reference loss a relative error says nothing; such points are judged by their absolute error."""
BLOCKS = 10
T_95 = 2.262
"""Two-sided 95 % quantile of Student's t with 9 degrees of freedom, for 10 block means."""


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """Largest and mean of an error, and the step of the largest; None where no point counts."""

    max: float | None
    mean: float | None
    max_step: int | None


@dataclass(frozen=True, kw_only=True)
class MeanLoss:
    """The mean loss of both sides over the common steps; `rel_error` is |left - right| / right."""

    left: float
    right: float
    rel_error: float | None


@dataclass(frozen=True, kw_only=True)
class Bias:
    """The signed mean error as a share of the mean reference, with its 95 % interval from 10 block means; the interval
    is None below 10 points."""

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All of it. `near_zero`: common points that the relative error leaves out; `near_zero_abs` their mean absolute
    error."""

    abs_error: Extremes
    rel_error: Extremes
    mean_loss: MeanLoss
    bias: Bias
    near_zero: int
    near_zero_abs: float | None


def compute(aligned: Aligned) -> Statistics:
    """Raises ValueError without a common point."""
    left, right, steps = aligned.left, aligned.right, aligned.steps
    if not len(steps):
        raise ValueError("no common step")
    difference = np.abs(left - right)
    counted = np.abs(right) >= NEAR_ZERO
    mean_left, mean_right = float(left.mean()), float(right.mean())
    return Statistics(
        abs_error=_extremes(difference, steps),
        rel_error=_extremes(difference[counted] / np.abs(right[counted]), steps[counted]),
        mean_loss=MeanLoss(
            left=mean_left,
            right=mean_right,
            rel_error=abs(mean_left - mean_right) / abs(mean_right) if mean_right else None,
        ),
        bias=_bias(left - right, mean_right),
        near_zero=int((~counted).sum()),
        near_zero_abs=float(difference[~counted].mean()) if (~counted).any() else None,
    )


def _extremes(errors: Array, steps: Array | np.ndarray[tuple[int], np.dtype[np.int64]]) -> Extremes:
    if not len(errors):
        return Extremes(max=None, mean=None, max_step=None)
    place = int(errors.argmax())
    return Extremes(max=float(errors[place]), mean=float(errors.mean()), max_step=int(steps[place]))


def _bias(signed: Array, mean_right: float) -> Bias:
    if not mean_right:
        return Bias(mean=None, low=None, high=None)
    mean = float(signed.mean()) / abs(mean_right)
    if len(signed) < BLOCKS:
        return Bias(mean=mean, low=None, high=None)
    blocks = np.array([block.mean() for block in np.array_split(signed, BLOCKS)])
    half = T_95 * float(blocks.std(ddof=1)) / BLOCKS**0.5 / abs(mean_right)
    return Bias(mean=mean, low=mean - half, high=mean + half)
