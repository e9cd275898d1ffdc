"""The engine's step records, as far as following a run needs them."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field

NEWEST = 240


@dataclass
class Progress:
    """Where a run stands, fed with the lines of `steps.jsonl`."""

    total_steps: int = 0
    step: int = 0
    loss: float | None = None
    tokens_per_step: float | None = None
    """Non-padding input tokens of all ranks, a moving mean as that of the seconds."""
    seconds_per_step: float | None = None
    """Moving mean, the newest step weighing a tenth."""
    losses: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=NEWEST))
    """Step and loss of the newest steps, in the order of the steps."""
    ended: bool = False
    from_step: int | None = None
    """The step that the last start continued from; None before its first record."""

    starts: int = 0
    """How many times training began, of those that were told."""

    @property
    def started(self) -> bool:
        """Whether training has begun."""
        return self.from_step is not None

    def feed(self, text: str) -> None:
        """Take in whole lines; a line that is no record is passed over."""
        for line in text.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record.get("record") == "run":
                self.total_steps, self.step, self.ended = record["total_steps"], record["resumed_from_step"], False
                self.from_step = self.step
                self.starts += 1
            elif record.get("record") == "step":
                self._step(record["step"], record["loss"], record.get("step_seconds"), record.get("tokens"))
            elif record.get("record") == "end":
                self.ended = True

    def _step(self, step: int, loss: float, seconds: float | None, tokens: int | None) -> None:
        self.step, self.loss = step, loss
        while self.losses and self.losses[-1][0] >= step:  # made again after a restart
            self.losses.pop()
        self.losses.append((step, loss))
        if not seconds:
            return
        self.seconds_per_step = _mean(self.seconds_per_step, seconds)
        self.tokens_per_step = _mean(self.tokens_per_step, tokens) if tokens else None

    @property
    def tokens_per_second(self) -> float | None:
        """Non-padding input tokens of all ranks at the present pace."""
        return self.tokens_per_step / self.seconds_per_step if self.tokens_per_step and self.seconds_per_step else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last step at the present pace; None when that is not known, or nothing comes any more."""
        if self.seconds_per_step is None or (self.ended and self.step < self.total_steps):
            return None
        return (self.total_steps - self.step) * self.seconds_per_step


def _mean(before: float | None, newest: float) -> float:
    """A moving mean; the newest value weighs a tenth."""
    return newest if before is None else 0.9 * before + 0.1 * newest
