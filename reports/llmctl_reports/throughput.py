"""Throughput from one quantity, the mean wall time of an optimizer step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmctl_reports.values import Column, RunLog

WARM_UP = 5
"""Steps at the start that are left out: they compile, allocate and fill caches."""

AGREEMENT = 0.02
"""How far a logged throughput may lie from the recomputed one without a word."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """None where the log does not say enough."""

    iterations: int | None
    seconds_per_step: float | None = None
    samples_per_second: float | None = None
    tokens_per_second_per_device: float | None = None
    basis: str = "not logged"
    """What the time of a step was taken from."""


def throughput(log: RunLog) -> Throughput:
    """Recomputed by one definition, so that two logs can be compared whatever they print themselves."""
    iterations = int(log.points.step[-1]) if len(log.points) else None
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


def disagreement(log: RunLog) -> tuple[float, float] | None:
    """(logged, recomputed) steps per second where the trainer's own figure lies more than 2 % from that of its step
    times: then it counts more than training, or less."""
    logged, (seconds, _) = log.final.train_steps_per_second, _mean(log, log.points.seconds)
    if not logged or not seconds or abs(logged * seconds - 1) <= AGREEMENT:
        return None
    return logged, 1 / seconds


def _seconds(log: RunLog, iterations: int | None) -> tuple[float | None, str]:
    mean, basis = _mean(log, log.points.seconds)
    if mean is not None:
        told = f"step times without the first {WARM_UP} steps" if basis == "warm" else "step times, warm-up included"
        return mean, told
    if log.final.train_runtime and iterations and (log.meta.total_steps or 0) <= iterations:
        return log.final.train_runtime / iterations, "the whole run time, everything included"
    if log.final.train_steps_per_second:
        return 1 / log.final.train_steps_per_second, "the trainer's steps per second"
    return None, "not logged"


def _tokens_per_step(log: RunLog) -> float | None:
    mean, _ = _mean(log, log.points.tokens)
    if mean is not None:
        return mean
    if log.meta.global_batch and log.meta.sequence_length:
        return float(log.meta.global_batch * log.meta.sequence_length)
    return None


def _mean(log: RunLog, column: Column | None) -> tuple[float | None, str]:
    """The mean of what is logged and not zero, after the warm-up where there is anything after it."""
    if column is None:
        return None, ""
    logged = np.nan_to_num(column) > 0
    warm = logged & (log.points.step - log.points.step[0] >= WARM_UP)
    used = column[warm if warm.any() else logged]
    return (float(used.mean()) if used.size else None), "warm" if warm.any() else "all"
