"""The tables of the seed documents, and ours. Cells are text; `-` is not known."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmctl_reports.compare import Comparison, Report
from llmctl_reports.runlog import RunLog
from llmctl_reports.throughput import Throughput
from llmctl_reports.words import word


@dataclass(frozen=True)
class Table:
    """Headings and rows."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def decimals(value: float | None, places: int) -> str:
    """Rounded to `places`, trailing zeros gone but one digit behind the point kept: 11.378, 9.3, 10.0."""
    if value is None:
        return "-"
    whole, _, part = f"{value:.{places}f}".partition(".")
    return f"{whole}.{part.rstrip('0') or '0'}"


def percent(value: float | None, places: int = 3) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{value * 100:.{places}f}%"


def name_of(log: RunLog) -> str:
    """What a table calls the device of a log."""
    names = {"npu": "NPUs", "cuda": "GPUs", "sophgo": "TPUs", "cpu": "CPUs"}
    return names.get(log.setup.device or "", log.setup.device or "")


def results(report: Report, language: str) -> Table:
    """The table that ModelZoo-PyTorch shows for Baichuan-13B: a line for the run, one for the reference."""
    rows = [_result(report.run, name_of(report.run) or word("run", language))]
    if report.comparison is not None:
        rows.append(_result(report.comparison.right, word("reference", language)))
    keys = ("device", "epochs", "train_loss", "samples_rate", "steps_rate")
    return Table(tuple(word(key, language) for key in keys), tuple(rows))


def _result(log: RunLog, name: str) -> tuple[str, ...]:
    final = log.final
    return (
        name,
        decimals(final.epochs, 1),
        "-" if final.train_loss is None else f"{final.train_loss:.4f}",
        decimals(final.train_samples_per_second, 3),
        decimals(final.train_steps_per_second, 3),
    )


def speeds(report: Report, language: str) -> Table:
    """The throughput table that ModelLink shows for Baichuan2-7B."""
    rows = [_speed(report.run, report.speed, name_of(report.run) or word("run", language))]
    if report.comparison is not None and report.reference_speed is not None:
        rows.append(_speed(report.comparison.right, report.reference_speed, word("reference", language)))
    keys = ("device", "model", "iterations", "samples", "tokens", "step_time")
    return Table(tuple(word(key, language) for key in keys), tuple(rows))


def _speed(log: RunLog, speed: Throughput, name: str) -> tuple[str, ...]:
    tokens = speed.tokens_per_second_per_device
    model = (log.setup.model or "-").rstrip("/").rpartition("/")[2]
    return (
        name,
        model,
        str(speed.iterations),
        "-" if speed.samples_per_second is None else f"{speed.samples_per_second:.2f}",
        "-" if tokens is None else str(math.floor(tokens)),
        "-" if speed.seconds_per_step is None else f"{speed.seconds_per_step:.3f}",
    )


def errors(compared: Comparison, language: str) -> list[str]:
    """The lines below the tables: absolute and relative error over the common points, bias, and what was left out."""
    statistics = compared.statistics
    if statistics is None:
        return []
    lines = []
    for key, extremes in (("absolute", statistics.abs_error), ("relative", statistics.rel_error)):
        if extremes.max is None or extremes.mean is None:
            continue
        line = word(key, language, max=f"{extremes.max:.4f}", mean=f"{extremes.mean:.4f}")
        lines.append(line + word("at_step", language, step=extremes.max_step))
    gate = next((check for check in compared.checks if check.name == "relative error of the mean loss"), None)
    if gate is not None:
        lines.append(word("mean_loss", language, value=percent(gate.value), result=gate.result))
    bias = statistics.bias
    if bias.low is not None:
        lines.append(word("bias", language, mean=percent(bias.mean), low=percent(bias.low), high=percent(bias.high)))
    if statistics.near_zero and statistics.near_zero_abs is not None:
        lines.append(word("near_zero", language, points=statistics.near_zero, error=f"{statistics.near_zero_abs:.4f}"))
    return lines


def gates(compared: Comparison, language: str) -> Table:
    """Every check with its limit."""
    keys = ("check", "value", "limit", "source", "result")
    rows = tuple(
        (
            check.name,
            "-" if check.value is None else f"{check.value:.6g}",
            f"{check.limit:.6g}",
            check.source,
            str(check.result),
        )
        for check in compared.checks
    )
    return Table(tuple(word(key, language) for key in keys), rows)


def alignment(compared: Comparison, language: str) -> Table:
    """Both logs: what was read and what was left out."""
    aligned = compared.aligned
    keys = ("side", "log", "points", "alone", "window", "dropped")
    rows = tuple(
        (
            word(side, language),
            log.source,
            str(len(log.points)),
            str(alone),
            str(window),
            ", ".join(f"{count} {reason}" for reason, count in log.dropped.items()) or "-",
        )
        for side, log, alone, window in (
            ("run", compared.left, aligned.only_left, aligned.window_left),
            ("reference", compared.right, aligned.only_right, aligned.window_right),
        )
    )
    return Table(tuple(word(key, language) for key in keys), rows)


def settings(compared: Comparison, language: str) -> Table | None:
    """Settings that both logs name and that differ; None when there is none."""
    found = compared.aligned.differences
    if not found:
        return None
    rows = tuple((name, str(left), str(right)) for name, (left, right) in found.items())
    return Table((word("setting", language), word("run", language), word("reference", language)), rows)
