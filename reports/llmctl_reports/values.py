"""What a log becomes: records of steps, what was dropped, and what the log says about its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NON_FINITE = "non-finite loss"
SKIPPED = "skipped iteration"
SUPERSEDED = "superseded after a resume"
DUPLICATE = "repeated line"
CONFLICT = "repeated line with another loss"
BROKEN = "unreadable line"
NOT_LOGGED = "loss of 0 that was not measured"


Column = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """The logged points as columns of one length, in ascending order of step, one a step. NaN stands where a point
    lacks a value, None where all do; never 0."""

    step: NDArray[np.int64]
    """The optimizer step."""
    loss: Column
    """The mean over the steps since the point before; finite."""
    epoch: Column | None = None
    learning_rate: Column | None = None
    grad_norm: Column | None = None
    seconds: Column | None = None
    """Wall time of one step."""
    tokens: Column | None = None
    """Tokens of one step, of all devices."""
    tokens_seen: Column | None = None
    """Tokens of all steps up to this one, of all devices, as the log counts them."""
    segments: tuple[Segment, ...] = ()
    """Where the trainer was started again within the log: what each of its starts logged, in their order."""

    def __len__(self) -> int:
        return self.step.size


@dataclass(frozen=True, eq=False)
class Segment:
    """What a log has from one start of the trainer to the next."""

    points: Points
    non_finite: int
    """Points that were left out since their loss is not finite."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """What a trainer says at its end."""

    train_loss: float | None = None
    train_runtime: float | None = None
    """Seconds."""
    train_samples_per_second: float | None = None
    train_steps_per_second: float | None = None
    train_tokens_per_second: float | None = None
    """Of all devices."""
    epochs: float | None = None


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a log tells about its run."""

    device: str | None = None
    world_size: int | None = None
    global_batch: int | None = None
    varying_batch: bool = False
    """The global batch changes within the log."""
    sequence_length: int | None = None
    """Tokens of a sample, where all have the same number."""
    model: str | None = None
    stage: str | None = None
    method: str | None = None
    precision: str | None = None
    learning_rate: float | None = None
    scheduler: str | None = None
    seed: int | None = None
    total_steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Restart:
    """A run that was started again."""

    step: int | None
    """The last step before; None where none was made, or that is not known."""
    from_step: int
    """The checkpoint's step from which it went on; 0 for the beginning."""
    reason: str
    """Why it had ended, or who asked for it."""
    node: str | None = None
    """Where it failed first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunLog:
    """A whole log."""

    source: str
    format: str
    points: Points
    dropped: Mapping[str, int] = field(default_factory=dict)
    meta: Meta = Meta()
    final: Final = Final()
    notes: tuple[str, ...] = ()
    """What a reader of the report must know about this log."""
    unused: tuple[str, ...] = ()
    """What the log has besides, by its own names."""
    allowed_findings: tuple[str, ...] = ()
    """What was found wrong with the nodes before the run, which was started in spite of it."""
    restarts: tuple[Restart, ...] = ()
    segment: int | None = None
    """Which segment was asked for, from 1; None when all of them count, the later before the earlier."""
    segments: int = 1
    """How many there are."""

    @property
    def window(self) -> int:
        """Steps between two points: the most frequent distance, of equals the smallest."""
        gaps = np.diff(self.points.step, prepend=0)
        widths, counts = np.unique(gaps[1:] if gaps.size > 1 else gaps, return_counts=True)
        return max(1, int(widths[counts.argmax()])) if widths.size else 1
