"""A training log as values, whatever wrote it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Point:
    """One logged optimizer step."""

    step: int
    loss: float
    epoch: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds: float | None = None
    """Wall time of one optimizer step."""
    tokens: float | None = None
    """Tokens of one step, all devices together, without padding."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """What a log says of the whole run; None where it says nothing."""

    train_loss: float | None = None
    train_runtime: float | None = None
    train_samples_per_second: float | None = None
    train_steps_per_second: float | None = None
    epochs: float | None = None


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the run was set up, as far as its log tells."""

    device: str | None = None
    model: str | None = None
    devices: int | None = None
    global_batch: int | None = None
    sequence_length: int | None = None
    """Tokens a sample, where all samples have the same."""
    learning_rate: float | None = None
    scheduler: str | None = None
    precision: str | None = None
    seed: int | None = None
    method: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """A whole log: points with rising steps, and what was left out, by reason."""

    source: str
    format: str
    points: tuple[Point, ...]
    final: Final = field(default_factory=Final)
    setup: Setup = field(default_factory=Setup)
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What a reader of the report must know about how this log was read."""

    @property
    def window(self) -> int:
        """Steps between two points, which is also the number of steps that a logged loss is the mean of."""
        gaps = Counter(b.step - a.step for a, b in zip(self.points, self.points[1:], strict=False))
        return gaps.most_common(1)[0][0] if gaps else 1


def clean(points: Iterable[Point], dropped: dict[str, int]) -> tuple[Point, ...]:
    """Points in the order of the file to points with rising steps. After a restart the later value of a step is the
    one that counts; equal repetitions are merged; losses that are not finite go. All of it is counted in `dropped`."""
    kept: dict[int, Point] = {}
    for point in points:
        if not math.isfinite(point.loss):
            count(dropped, "not finite")
            continue
        before = kept.get(point.step)
        if before is not None:
            count(dropped, "repeated" if before.loss == point.loss else "superseded")
        kept[point.step] = point
    return tuple(kept[step] for step in sorted(kept))


def count(dropped: dict[str, int], reason: str) -> None:
    """One more that was left out."""
    dropped[reason] = dropped.get(reason, 0) + 1


def number(value: Any) -> float | None:
    """A number, also from text like `1.808e+04` or `7,282`; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(str(value).replace(",", ""))
    except ValueError:
        return None
