"""What a log becomes: records of steps, what was dropped, and what the log says about its run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

NON_FINITE = "non-finite loss"
SKIPPED = "skipped iteration"
SUPERSEDED = "superseded after a resume"
DUPLICATE = "repeated line"
BROKEN = "unreadable line"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One logged point. Absent values are None, never 0."""

    step: int
    """The optimizer step."""
    loss: float
    """The mean over the steps since the point before."""
    epoch: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds: float | None = None
    """Wall time of one step."""
    tokens: float | None = None
    """Tokens of one step, of all devices."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """What a trainer says at its end."""

    train_loss: float | None = None
    train_runtime: float | None = None
    """Seconds."""
    train_samples_per_second: float | None = None
    train_steps_per_second: float | None = None
    epochs: float | None = None


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a log tells about its run."""

    device: str | None = None
    world_size: int | None = None
    global_batch: int | None = None
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
class RunLog:
    """A whole log; records are in ascending order of step, one a step, with finite losses."""

    source: str
    format: str
    records: tuple[Record, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    meta: Meta = Meta()
    final: Final = Final()
    notes: tuple[str, ...] = ()
    """What a reader of the report must know about this log."""
    allowed_findings: tuple[str, ...] = ()
    """What was found wrong with the nodes before the run, which was started in spite of it."""

    @property
    def window(self) -> int:
        """Steps between two points: the most frequent distance, of equals the smallest."""
        steps = [0, *(record.step for record in self.records)]
        gaps = [after - before for before, after in pairwise(steps)]
        counts = Counter(gaps[1:] or gaps)
        return max(1, min(counts, key=lambda gap: (-counts[gap], gap)))
