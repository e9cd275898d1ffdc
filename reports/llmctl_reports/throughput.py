"""Speed from one quantity: the mean wall time of an optimizer step after warm-up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llmctl_reports.runlog import RunLog

WARM_UP = 5
"""Steps left out at the start (compilation, caches), as MindSpeed-LLM's own tests do."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """All figures follow from `seconds_per_step`; None where the log does not tell enough."""

    iterations: int
    seconds_per_step: float | None
    median: float | None
    p95: float | None
    samples_per_second: float | None
    """Global batch / seconds per step."""
    tokens_per_second_per_device: float | None
    """Tokens of a step / (seconds per step x devices): real tokens where logged, else global batch x length."""
    basis: str
    """What the step time was taken from."""


def throughput(log: RunLog) -> Throughput:
    """Of one log. Without step times the whole runtime by its steps stands in, which includes everything."""
    timed = [point for point in log.points if point.seconds]
    timed = timed[WARM_UP:] if len(timed) > 2 * WARM_UP else timed
    iterations = log.points[-1].step
    seconds = np.array([point.seconds for point in timed], dtype=float)
    if len(seconds):
        mean: float | None = float(seconds.mean())
        basis = f"{len(seconds)} steps after {WARM_UP} of warm-up" if len(seconds) < iterations else "all steps"
    elif log.final.train_runtime:
        mean, basis = log.final.train_runtime / iterations, "the whole runtime"
    elif log.final.train_steps_per_second:
        mean, basis = 1 / log.final.train_steps_per_second, "the logged steps per second"
    else:
        mean, basis = None, "no times in the log"
    samples = log.setup.global_batch / mean if mean and log.setup.global_batch else None
    if samples is None:
        samples = log.final.train_samples_per_second
    return Throughput(
        iterations=iterations,
        seconds_per_step=mean,
        median=float(np.median(seconds)) if len(seconds) else None,
        p95=float(np.quantile(seconds, 0.95)) if len(seconds) else None,
        samples_per_second=samples,
        tokens_per_second_per_device=_tokens(log, mean, [point.tokens for point in timed]),
        basis=basis,
    )


def _tokens(log: RunLog, mean: float | None, logged: list[float | None]) -> float | None:
    setup = log.setup
    if not mean or not setup.devices:
        return None
    known = [tokens for tokens in logged if tokens]
    if known and len(known) == len(logged):
        return math.fsum(known) / len(known) / (mean * setup.devices)
    if setup.global_batch and setup.sequence_length:
        return setup.global_batch * setup.sequence_length / (mean * setup.devices)
    return None
