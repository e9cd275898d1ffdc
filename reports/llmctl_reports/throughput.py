"""Throughput from one quantity, the mean wall time of an optimizer step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmctl_reports.values import RunLog

WARM_UP = 5
"""Steps at the start that are left out: they compile, allocate and fill caches."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """None where the log does not say enough."""

    iterations: int
    seconds_per_step: float | None = None
    samples_per_second: float | None = None
    tokens_per_second_per_device: float | None = None
    basis: str = "not logged"
    """What the time of a step was taken from."""


def throughput(log: RunLog) -> Throughput:
    """Recomputed by one definition, so that two logs can be compared whatever they print themselves."""
    iterations = log.records[-1].step
    seconds, basis = _seconds(log, iterations)
    if seconds is None:
        return Throughput(iterations=iterations)
    batch, devices = log.meta.global_batch, log.meta.world_size
    samples = batch / seconds if batch else log.final.train_samples_per_second
    tokens = _tokens_per_step(log)
    return Throughput(
        iterations=iterations,
        seconds_per_step=seconds,
        samples_per_second=samples,
        tokens_per_second_per_device=tokens / (seconds * devices) if tokens and devices else None,
        basis=basis,
    )


def _seconds(log: RunLog, iterations: int) -> tuple[float | None, str]:
    times = [(record.step, record.seconds) for record in log.records if record.seconds]
    first = log.records[0].step - 1
    warm = [seconds for step, seconds in times if step - first > WARM_UP]
    if warm:
        return math.fsum(warm) / len(warm), f"step times without the first {WARM_UP} steps"
    if times:
        return math.fsum(seconds for _, seconds in times) / len(times), "step times, warm-up included"
    if log.final.train_runtime and (log.meta.total_steps or 0) <= iterations:
        return log.final.train_runtime / iterations, "the whole run time, everything included"
    if log.final.train_steps_per_second:
        return 1 / log.final.train_steps_per_second, "the trainer's steps per second"
    return None, "not logged"


def _tokens_per_step(log: RunLog) -> float | None:
    first = log.records[0].step - 1
    counts = [r.tokens for r in log.records if r.tokens]
    warm = [r.tokens for r in log.records if r.tokens and r.step - first > WARM_UP]
    if counts:
        used = warm or counts
        return math.fsum(used) / len(used)
    if log.meta.global_batch and log.meta.sequence_length:
        return float(log.meta.global_batch * log.meta.sequence_length)
    return None
