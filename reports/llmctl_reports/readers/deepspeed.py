"""DeepSpeed's own lines: learning rate, skipped steps and samples per second, never a loss."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from llmctl_reports.readers.common import final_beside, finite
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import SKIPPED, Column, Points, RunLog

STEP = re.compile(rb"\bstep=(\d{1,15}), skipped=(\d{1,15}), lr=\[\(?([^\],)\r\n]+)")
RATE = re.compile(rb"\b(?:RunningAvg)?SamplesPerSec=([^,\s]+)")
"""The mean since the start; the timer counts steps of its own, which begin anew after a resume."""


@dataclass(frozen=True, kw_only=True)
class EngineLines:
    """What the lines say together."""

    learning_rates: Mapping[int, float]
    """Of the first group of parameters, by step."""
    skipped: int
    """Steps whose gradients overflowed."""
    samples_per_second: float | None

    @property
    def last(self) -> int:
        """The last step that is told; 0 where none is."""
        return max(self.learning_rates, default=0)


def sniff(head: str) -> bool:
    """Whether the engine told a step."""
    return STEP.search(head.encode()) is not None


def read(source: Source) -> RunLog:
    """No points, but what the lines say of the whole run."""
    lines = engine_lines(source)
    log = RunLog(
        source=str(source.path),
        format="DeepSpeed",
        points=Gathering().points(),
        final=final_beside(source.path),
        notes=(f"DeepSpeed's own lines, up to step {lines.last}, hold no loss",),
    )
    return with_engine_lines(log, lines)


def engine_lines(source: Source) -> EngineLines:
    """The lines of a log; where a step comes twice the later one counts."""
    rates: dict[int, float] = {}
    skipped, samples = 0, None
    for piece in source.pieces():
        for step, count, rate in STEP.findall(piece):
            skipped = int(count)
            if (value := finite(rate)) is not None:
                rates[int(step)] = value
        for text in RATE.findall(piece):
            samples = finite(text) or samples
    return EngineLines(learning_rates=rates, skipped=skipped, samples_per_second=samples)


def with_engine_lines(log: RunLog, lines: EngineLines) -> RunLog:
    """The log with what it lacks: learning rates, samples per second, the number of skipped steps."""
    final, points, dropped = log.final, log.points, dict(log.dropped)
    if final.train_samples_per_second is None:
        final = replace(final, train_samples_per_second=lines.samples_per_second)
    if points.learning_rate is None:
        points = replace(points, learning_rate=_of_steps(points, lines.learning_rates))
    if lines.skipped:
        dropped.setdefault(SKIPPED, lines.skipped)
    return replace(log, final=final, points=points, dropped=dropped)


def lacks(log: RunLog) -> bool:
    """Whether DeepSpeed's lines could add to a log."""
    return log.points.learning_rate is None or log.final.train_samples_per_second is None


def _of_steps(points: Points, rates: Mapping[int, float]) -> Column | None:
    column = np.array([rates.get(step, np.nan) for step in points.step.tolist()], dtype=np.float64)
    return None if np.isnan(column).all() else column
