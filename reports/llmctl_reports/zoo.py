"""Many runs in one table, as the README of a model zoo shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmctl_reports.formatting import NOTHING, fixed, percent, short, signed_percent
from llmctl_reports.readers import IN_FOLDER
from llmctl_reports.tables import DEVICES, REFERENCE, Table
from llmctl_reports.throughput import throughput
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

HEADINGS = {
    "en": (
        "Run",
        "Device",
        "Epochs",
        "Train loss",
        "samples/s",
        "steps/s",
        "tokens/s/p",
        "Mean relative error",
        "Bias (95 % interval)",
        "Verdict",
    ),
    "zh": (
        "训练",
        "设备",
        "轮数",
        "train loss",
        "samples/s",
        "steps/s",
        "tokens/s/p",
        "平均相对误差",
        "偏差（95%置信区间）",
        "结论",
    ),
}
LOG_NAMES = frozenset(Path(name).name for name in IN_FOLDER)
"""Files that every run has: the folder's name tells more."""


def zoo_table(runs: Sequence[RunLog], comparisons: Sequence[Comparison], lang: str) -> Table:
    """A row a run: what it reached, how fast (all three from the time of a step), and how it compares. `comparisons`
    are in the order of the runs, with one reference, which is the last row; without any the table ends with the
    throughput."""
    if not comparisons:
        return Table(HEADINGS[lang][:7], tuple(_row(name_of(log), log) for log in runs))
    rows = [(*_row(name_of(log), log), *_errors(comparison)) for log, comparison in zip(runs, comparisons, strict=True)]
    reference = comparisons[0].reference
    last = (*_row(f"{REFERENCE[lang]}: {name_of(reference)}", reference), NOTHING, NOTHING, NOTHING)
    return Table(HEADINGS[lang], (*rows, last))


def name_of(log: RunLog) -> str:
    """What a person calls the run: its folder, where the file is named as in every run, else the file."""
    path = Path(log.source)
    if path.name not in LOG_NAMES:
        return path.name
    folders = [folder.name for folder in path.parents if folder.name not in ("", "output")]
    return folders[0] if folders else path.name


def _row(name: str, log: RunLog) -> tuple[str, ...]:
    speed, final = throughput(log), log.final
    steps = 1 / speed.seconds_per_step if speed.seconds_per_step else None
    return (
        name,
        DEVICES.get(log.meta.device or "", NOTHING),
        fixed(final.epochs, 1),
        fixed(final.train_loss, 4),
        short(speed.samples_per_second),
        short(steps),
        fixed(speed.tokens_per_second_per_device, 0),
    )


def _errors(comparison: Comparison) -> tuple[str, str, str]:
    """As the gates see them: points with a reference near zero left out."""
    bias = comparison.statistics.gated_bias
    told = NOTHING if bias.mean is None else signed_percent(bias.mean)
    if bias.low is not None and bias.high is not None:
        told += f" ({signed_percent(bias.low)} … {signed_percent(bias.high)})"
    return percent(comparison.statistics.rel_error.mean), told, str(comparison.verdict)
