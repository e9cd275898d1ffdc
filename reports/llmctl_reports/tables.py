"""The two tables that device ports are judged by, in their usual form, and the points as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmctl_reports.chinese import translated
from llmctl_reports.formatting import NOTHING, error, fixed, percent, short, significant
from llmctl_reports.throughput import throughput
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison
from llmctl_reports.words import FIGURES, WORDS, amount, limit

MARKUP = re.compile(r"[\\`*\[\]<|]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
"""What begins or ends something in Markdown; underscores inside of words do not."""

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
            f"绝对误差：最大值{error(absolute.max)}，平均值{error(absolute.mean)}",
            f"相对误差：最大值{error(relative.max)}，平均值{error(relative.mean)}",
        )
    return (
        f"Absolute error: max {error(absolute.max)}, mean {error(absolute.mean)}",
        f"Relative error: max {error(relative.max)}, mean {error(relative.mean)}",
    )


def end_lines(comparison: Comparison, lang: str) -> tuple[str, ...]:
    """How the losses end and how the gradient norms compare, where that is known."""
    say, numbers = FIGURES[lang], comparison.statistics
    told = (("tail", numbers.tail_rel_error), ("grad_norm", numbers.grad_norm_rel_error))
    colon = "：" if lang == "zh" else ": "
    return tuple(
        f"{say[name][:1].upper()}{say[name][1:]}{colon}{percent(value)}" for name, value in told if value is not None
    )


def logs_table(run: RunLog, reference: RunLog | None, lang: str) -> Table:
    """What was read: a row a log."""
    say = WORDS[lang]
    keys = ("log", "format", "points", "window", "first", "last", "dropped")
    rows = []
    for name, log in (("run", run), *([("reference", reference)] if reference else [])):
        steps, losses = log.points.step, log.points.loss
        dropped = (
            ", ".join(f"{count} x {translated(reason, lang)}" for reason, count in log.dropped.items()) or say["none"]
        )
        ends = [f"{losses[at]:.4f} ({steps[at]})" if steps.size else NOTHING for at in (0, -1)]
        source = f"{say[name]}: {log.source}"
        rows.append((source, log.format, str(len(log.points)), str(log.window), *ends, dropped))
    return Table(tuple(say[key] for key in keys), tuple(rows))


def differences_table(rows: Sequence[tuple[str, str, str]], lang: str) -> Table:
    """(name, run, reference) of what is not the same in both."""
    say = WORDS[lang]
    return Table((say["item"], say["run"], say["reference"]), tuple(rows))


def checks_table(comparison: Comparison, lang: str) -> Table:
    """What was judged, by which limit and whose."""
    say = WORDS[lang]
    return Table(
        (say["check"], say["value"], say["limit"], say["source"], say["result"]),
        tuple(
            (
                translated(check.name, lang),
                NOTHING if check.value is None else amount(check.name, check.value),
                limit(check),
                translated(check.source, lang),
                str(check.result),
            )
            for check in comparison.checks
        ),
    )


def figures_table(comparison: Comparison, lang: str) -> Table:
    """All figures of a comparison, whether a check of the profile uses them or not."""
    say, numbers = FIGURES[lang], comparison.statistics
    absolute, relative = numbers.abs_error, numbers.rel_error
    beyond = numbers.beyond or {}
    rows = [
        (say["mean_left"], significant(numbers.mean_left)),
        (say["mean_right"], significant(numbers.mean_right)),
        (say["mean_rel_error"], percent(numbers.mean_rel_error)),
        (say["mean_relative"], percent(relative.mean)),
        (say["max_relative"].format(relative.max_step), percent(relative.max)),
        (say["p95"], percent(numbers.p95_rel_error)),
        *((say["beyond"].format(f"{100 * limit:g}"), str(count)) for limit, count in beyond.items()),
        (say["max_absolute"].format(absolute.max_step), significant(absolute.max)),
        (say["first"], percent(numbers.first_rel_error)),
        (say["tail"], percent(numbers.tail_rel_error)),
        (say["grad_norm"], percent(numbers.grad_norm_rel_error)),
    ]
    return Table((say["figure"], say["value"]), tuple(row for row in rows if row[1] != NOTHING))


def points_csv(run: RunLog, comparison: Comparison | None) -> str:
    """Every point: of a comparison the common ones, with errors where there are enough for figures; else the run's
    records."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if comparison is None:
        names = ("step", "loss", "learning_rate", "grad_norm", "seconds", "tokens")
        writer.writerow(names)
        writer.writerows(zip(*(_column(run, name) for name in names), strict=True))
        return out.getvalue()
    found, enough = comparison.alignment, comparison.statistics.abs_error.mean is not None
    left, right = found.left, found.right
    columns = {"step": found.steps.tolist()}
    if found.key not in (None, "step"):
        columns[str(found.key)] = found.places.tolist()
    columns |= {"loss": left.tolist(), "reference_loss": right.tolist()}
    if enough:
        columns["absolute_error"] = np.abs(left - right).tolist()
        columns["relative_error"] = [
            abs(one - other) / abs(other) if other else None
            for one, other in zip(left.tolist(), right.tolist(), strict=True)
        ]
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def _column(run: RunLog, name: str) -> list[float | None]:
    column = getattr(run.points, name)
    if column is None:
        return [None] * len(run.points)
    return [None if value != value else value for value in column.tolist()]


def markdown_table(table: Table) -> str:
    """A Markdown table."""
    lines = [table.headings, tuple("---" for _ in table.headings)]
    rows = [tuple(escaped(cell) for cell in row) for row in table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [*lines, *rows])


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: on one line, without markup, links, or bars that end a cell."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _results(log: RunLog) -> tuple[str, ...]:
    final = log.final
    return (
        fixed(final.epochs, 1),
        fixed(final.train_loss, 4),
        short(final.train_samples_per_second),
        short(final.train_steps_per_second),
    )


def _speed(log: RunLog) -> tuple[str, ...]:
    speed = throughput(log)
    return (
        NOTHING if speed.iterations is None else str(speed.iterations),
        fixed(speed.samples_per_second, 2),
        fixed(speed.tokens_per_second_per_device, 0),
        fixed(speed.seconds_per_step, 3),
    )
