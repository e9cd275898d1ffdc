"""Points whose lines stand behind those of later steps, as when many write one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmctl_reports.values import Column, Places


@dataclass(frozen=True, eq=False)
class Late:
    """A point whose line stands behind those of later steps."""

    step: int
    place: int
    """How many points came before it."""
    loss: float
    extras: Mapping[str, float | None]


def same_loss(one: float, other: float) -> bool:
    """Whether two losses are equal, or both no number."""
    return one == other or (math.isnan(one) and math.isnan(other))


def with_late(steps: Places, values: dict[str, Column], late: Sequence[Late]) -> tuple[Places, dict[str, Column]]:
    """The points with the late ones in their places; of a step that came late twice the last counts."""
    by_step = {each.step: each for each in late}
    steps = np.concatenate([steps, np.array(list(by_step), dtype=np.int64)])
    order = np.argsort(steps)
    more = {
        name: [each.loss if name == "loss" else each.extras.get(name) for each in by_step.values()] for name in values
    }
    return steps[order], {
        name: np.concatenate([column, np.array(more[name], dtype=np.float64)])[order] for name, column in values.items()
    }
