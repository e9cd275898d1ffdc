"""Throughput from one quantity, the mean wall time of an optimizer step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmctl_reports.tokens_axis import tokens_seen
from llmctl_reports.values import Column, RunLog

WARM_UP = 5
"""Steps at the start that are left out: they compile, allocate and fill caches."""

AGREEMENT = 0.02
"""How far a logged throughput may lie from the recomputed one without a word."""


RUN_TIME = "the whole run time, everything included"
OWN_WORDS = "the trainer's steps per second"
LAST_DIGIT = 0.0005
"""Trainers round what they say of their speed to three decimals."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """None where the log does not say enough."""

    iterations: int | None
    seconds_per_step: float | None = None
    samples_per_second: float | None = None
    tokens_per_second_per_device: float | None = None
    basis: str = "not logged"
    """What the time of a step was taken from."""
    tokens_basis: str = ""
    """What the tokens of a step were taken from."""
    median_seconds: float | None = None
    """Of the step times after the warm-up, where there are any."""
    p95_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Said:
    """A throughput as the trainer says it, beside the recomputed one."""

    unit: str
    logged: float
    recomputed: float
    basis: str
    """What the recomputed one was taken from."""

    @property
    def apart(self) -> bool:
        """Whether they differ by more than 2 % and the rounding of the logged one."""
        return abs(self.logged - self.recomputed) > AGREEMENT * self.recomputed + LAST_DIGIT


def throughput(log: RunLog) -> Throughput:
    """Recomputed by one definition, so that two logs can be compared whatever they print themselves."""
    iterations = int(log.points.step[-1]) if len(log.points) else None
    seconds, basis = _seconds(log, iterations)
    if seconds is None:
        return Throughput(iterations=iterations)
    samples, devices = _samples_per_step(log, iterations), log.meta.world_size
    tokens, tokens_basis = _tokens_per_step(log)
    times = _after_warm_up(log, log.points.seconds)
    return Throughput(
        iterations=iterations,
        seconds_per_step=seconds,
        samples_per_second=samples / seconds if samples else None,
        tokens_per_second_per_device=tokens / (seconds * devices) if tokens and devices else None,
        basis=basis,
        tokens_basis=tokens_basis if tokens and devices else "",
        median_seconds=float(np.median(times)) if times.size else None,
        p95_seconds=float(np.percentile(times, 95)) if times.size else None,
    )


def said(log: RunLog) -> tuple[Said, ...]:
    """What the trainer says of its speed, each beside what follows from the time of a step: where they are apart, it
    counts more than training, or less."""
    found, final = throughput(log), log.final
    if found.seconds_per_step is None:
        return ()
    steps = None if found.basis == OWN_WORDS else 1
    pairs = (
        ("samples/s", final.train_samples_per_second, log.meta.global_batch, found.seconds_per_step, found.basis),
        ("steps/s", final.train_steps_per_second, steps, found.seconds_per_step, found.basis),
        ("tokens/s", final.train_tokens_per_second, _all_tokens(log), final.train_runtime, RUN_TIME),
    )
    return tuple(
        Said(unit=unit, logged=logged, recomputed=count / seconds, basis=basis)
        for unit, logged, count, seconds, basis in pairs
        if logged and count and seconds
    )


def ratio(run: RunLog, reference: RunLog) -> float | None:
    """How many times as many samples a second the run makes as its reference; None where one of them is not known."""
    one, other = throughput(run).samples_per_second, throughput(reference).samples_per_second
    return one / other if one and other else None


def _seconds(log: RunLog, iterations: int | None) -> tuple[float | None, str]:
    mean, basis = _mean(log, log.points.seconds)
    if mean is not None:
        told = f"step times without the first {WARM_UP} steps" if basis == "warm" else "step times, warm-up included"
        return mean, told
    if log.final.train_runtime and iterations and (log.meta.total_steps or 0) <= iterations:
        return log.final.train_runtime / iterations, RUN_TIME
    if log.final.train_steps_per_second:
        return 1 / log.final.train_steps_per_second, OWN_WORDS
    return None, "not logged"


def _samples_per_step(log: RunLog, iterations: int | None) -> float | None:
    """The global batch; else what follows from the trainer's own samples a second, its run time and its steps."""
    rate, final = log.final.train_samples_per_second, log.final
    if log.meta.global_batch or not rate:
        return log.meta.global_batch
    if final.train_runtime and iterations and (log.meta.total_steps or 0) <= iterations:
        return rate * final.train_runtime / iterations
    return rate / final.train_steps_per_second if final.train_steps_per_second else None


def _tokens_per_step(log: RunLog) -> tuple[float | None, str]:
    mean, _ = _mean(log, log.points.tokens)
    if mean is not None:
        return mean, "tokens as logged"
    seen = tokens_seen(log.points)
    if seen is not None:
        rows = np.flatnonzero(np.isfinite(seen))
        steps = log.points.step[rows[-1]]
        if steps > 0:
            return float(seen[rows[-1]] / steps), "the log's count of tokens"
    if log.meta.global_batch and log.meta.sequence_length:
        return float(log.meta.global_batch * log.meta.sequence_length), "global batch x sequence length"
    return None, ""


def _all_tokens(log: RunLog) -> float | None:
    """The tokens up to the last point, where that is the end of the run."""
    points, seen = log.points, tokens_seen(log.points)
    if seen is None or not np.isfinite(seen[-1]):
        return None
    ended = log.meta.total_steps is not None and log.meta.total_steps <= points.step[-1]
    at_end = points.epoch is not None and log.final.epochs is not None and points.epoch[-1] >= log.final.epochs
    return float(seen[-1]) if ended or at_end else None


def _mean(log: RunLog, column: Column | None) -> tuple[float | None, str]:
    """The mean of what is logged and not zero, after the warm-up where there is anything after it."""
    if column is None:
        return None, ""
    warm = _after_warm_up(log, column)
    used = warm if warm.size else column[np.nan_to_num(column) > 0]
    return (float(used.mean()) if used.size else None), "warm" if warm.size else "all"


def _after_warm_up(log: RunLog, column: Column | None) -> Column:
    """What is logged and not zero."""
    if column is None or not column.size:
        return np.empty(0)
    late = log.points.step - log.points.step[0] >= WARM_UP
    return np.compress(late & (np.nan_to_num(column) > 0), column)
