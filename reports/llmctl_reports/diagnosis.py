"""What kind of difference makes a comparison fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from llmctl_reports.alignment import Alignment
from llmctl_reports.statistics import NEAR_ZERO, TAIL

FIRST_RELATIVE = FIRST_ABSOLUTE = 0.005
"""A first loss that is beyond both is another forward pass (limits of MindFormers' precision guide)."""
BEYOND, BEYOND_NEAR_ZERO = 0.02, 0.01
"""From where on a point counts as different: relative, and absolute where the reference is near zero."""
SPIKES = 0.05
"""The share of points, the worst ones, that may be called spikes."""
SPIKES_CARRY = 0.5
"""The share of the summed absolute error that they carry at least; of normally distributed errors it were 0.15."""
NAMED = 20
"""How many steps of spikes are kept."""


class Kind(StrEnum):
    """Where in a run the difference lies."""

    FIRST_STEP = "first step"
    DRIFT = "drift"
    SPIKES = "spikes"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The kind of a difference and what it was told by."""

    kind: Kind
    first_step: bool
    """Whether the first common point is the first step of both, so that it could be told by."""
    since_step: int | None
    """The first common point that counts as different."""
    spikes: int
    """How many of the worst points, at most one in twenty, count as different; all of them where none does."""
    spike_steps: tuple[int, ...]
    """The steps of the worst of them, the worst first."""
    spike_share: float
    """What they carry of the summed absolute error."""


def diagnose(alignment: Alignment) -> Diagnosis | None:
    """First step, when that already differs; else spikes, when few points carry most of the error, the others agree in
    the mean, and the end is not made up of them; else drift. None where there is no error at all."""
    errors, sizes = alignment.left - alignment.right, np.abs(alignment.left - alignment.right)
    total = float(sizes.sum())
    if not total:
        return None
    reference = np.abs(alignment.right)
    differs = np.where(reference < NEAR_ZERO, sizes > BEYOND_NEAR_ZERO, sizes > BEYOND * reference)
    count = max(1, int(SPIKES * sizes.size))
    worst = np.argpartition(sizes, sizes.size - count)[sizes.size - count :]
    worst = worst[differs[worst]] if differs[worst].any() else worst
    share = float(sizes[worst].sum()) / total
    rest = np.ones(sizes.size, dtype=bool)
    rest[worst] = False
    rest_agrees = abs(float(errors[rest].sum())) <= BEYOND * float(reference[rest].sum())
    tail = max(1, round(TAIL * sizes.size))
    ends_with_them = 2 * int((worst >= sizes.size - tail).sum()) >= tail
    if alignment.from_first_step and sizes[0] > max(FIRST_ABSOLUTE, FIRST_RELATIVE * reference[0]):
        kind = Kind.FIRST_STEP
    elif share >= SPIKES_CARRY and rest_agrees and not ends_with_them:
        kind = Kind.SPIKES
    else:
        kind = Kind.DRIFT
    return Diagnosis(
        kind=kind,
        first_step=alignment.from_first_step,
        since_step=int(alignment.steps[differs.argmax()]) if differs.any() else None,
        spikes=worst.size,
        spike_steps=tuple(alignment.steps[worst[np.argsort(-sizes[worst])[:NAMED]]].tolist()),
        spike_share=share,
    )
