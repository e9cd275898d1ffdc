"""The two tables that device ports are judged by, in their usual form, and the points as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from llmctl_reports.throughput import throughput
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

NOTHING = "-"

RESULTS = ("Device", "total epochs", "train loss", "train samples per second", "train steps per second")
"""The headings are English in Chinese reports too."""

SPEED = {
    "en": (
        "Device",
        "Model",
        "Iterations",
        "Sample throughput (samples/s)",
        "Token throughput (tokens/s/p)",
        "Time per step (s/step)",
    ),
    "zh": (
        "设备",
        "模型",
        "迭代数",
        "样本吞吐 (samples/s)",
        "tokens吞吐 (tokens/s/p)",
        "单步迭代时间 (s/step)",
    ),
}
REFERENCE = {"en": "Reference", "zh": "参考"}
DEVICES = {"npu": "NPUs", "cuda": "GPUs", "cpu": "CPUs", "sophgo": "TPUs"}


@dataclass(frozen=True)
class Table:
    """Headings and rows of text."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def device_of(log: RunLog, lang: str) -> str:
    """How the run's row is named."""
    return DEVICES.get(log.meta.device or "", {"en": "Run", "zh": "本次"}[lang])


def results_table(run: RunLog, reference: RunLog | None, lang: str) -> Table:
    """Epochs, loss and the trainer's own throughput; what a log lacks is a dash."""
    rows = [(device_of(run, lang), run)]
    if reference is not None:
        rows.append(("Reference", reference))
    return Table(RESULTS, tuple((name, *_results(log)) for name, log in rows))


def speed_table(run: RunLog, reference: RunLog | None, lang: str) -> Table:
    """Throughput, recomputed from the time of a step."""
    rows = [(device_of(run, lang), run)]
    if reference is not None:
        rows.append((REFERENCE[lang], reference))
    model = next((log.meta.model for _, log in rows if log.meta.model), None)
    return Table(SPEED[lang], tuple((name, log.meta.model or model or NOTHING, *_speed(log)) for name, log in rows))


def error_lines(comparison: Comparison, lang: str) -> tuple[str, ...]:
    """Largest and mean absolute and relative error; nothing where there are too few points for figures."""
    absolute, relative = comparison.statistics.abs_error, comparison.statistics.rel_error
    if absolute.mean is None:
        return ()
    if lang == "zh":
        return (
            f"绝对误差：最大值{_error(absolute.max)}，平均值{_error(absolute.mean)}",
            f"相对误差：最大值{_error(relative.max)}，平均值{_error(relative.mean)}",
        )
    return (
        f"Absolute error: max {_error(absolute.max)}, mean {_error(absolute.mean)}",
        f"Relative error: max {_error(relative.max)}, mean {_error(relative.mean)}",
    )


def points_csv(run: RunLog, comparison: Comparison | None) -> str:
    """Every point: of a comparison the common ones with their errors, else the run's records."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if comparison is None:
        names = ("step", "loss", "learning_rate", "grad_norm", "seconds", "tokens")
        writer.writerow(names)
        writer.writerows(zip(*(_column(run, name) for name in names), strict=True))
        return out.getvalue()
    found = comparison.alignment
    writer.writerow(["step", "loss", "reference_loss", "absolute_error", "relative_error"])
    writer.writerows(
        [step, left, right, abs(left - right), abs(left - right) / abs(right) if right else None]
        for step, left, right in zip(found.steps.tolist(), found.left.tolist(), found.right.tolist(), strict=True)
    )
    return out.getvalue()


def _column(run: RunLog, name: str) -> list[float | None]:
    column = getattr(run.points, name)
    if column is None:
        return [None] * len(run.points)
    return [None if value != value else value for value in column.tolist()]


def markdown_table(table: Table) -> str:
    """A Markdown table; bars inside of cells are escaped."""
    lines = [table.headings, tuple("---" for _ in table.headings), *table.rows]
    return "\n".join("| " + " | ".join(_cells(line)) + " |" for line in lines)


def _cells(line: Sequence[str]) -> list[str]:
    return [cell.replace("|", r"\|").replace("\n", " ") for cell in line]


def _results(log: RunLog) -> tuple[str, ...]:
    final = log.final
    return (
        _fixed(final.epochs, 1),
        _fixed(final.train_loss, 4),
        _short(final.train_samples_per_second),
        _short(final.train_steps_per_second),
    )


def _speed(log: RunLog) -> tuple[str, ...]:
    speed = throughput(log)
    return (
        str(speed.iterations),
        _fixed(speed.samples_per_second, 2),
        _fixed(speed.tokens_per_second_per_device, 0),
        _fixed(speed.seconds_per_step, 3),
    )


def _error(value: float | None) -> str:
    """Four decimals; what would round to nothing is told by its size, since 0.0000 would claim that it is nothing."""
    return f"{value:.1e}" if value and abs(value) < 5e-5 else _fixed(value, 4)


def _fixed(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _short(value: float | None) -> str:
    """Three decimals without trailing zeros, as trainers print it."""
    return NOTHING if value is None else f"{round(value, 3):g}" if abs(value) < 1000 else f"{value:.3f}"
