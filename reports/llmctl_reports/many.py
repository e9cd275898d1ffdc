"""Many runs against one reference: the report around their table, and the table for machines."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llmctl_reports import words
from llmctl_reports.chinese import translated
from llmctl_reports.document import Block, Heading, Line
from llmctl_reports.formatting import NOTHING
from llmctl_reports.profiles import Verdict
from llmctl_reports.tables import Table
from llmctl_reports.throughput import throughput
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison
from llmctl_reports.zoo import name_of, zoo_table

SAY = {
    "en": {
        "runs": "Runs",
        "unread": "not read",
        "failed": "Not read",
        "title": "{} runs",
        "differing": "What differs from the reference",
    },
    "zh": {
        "runs": "各次训练",
        "unread": "无法读取",
        "failed": "无法读取",
        "title": "{}次训练",
        "differing": "与参考的差异",
    },
}
FIRST = 5
"""Differences that are named."""
COLUMNS = (
    "run",
    "source",
    "points",
    "last_step",
    "last_loss",
    "train_loss",
    "samples_per_second",
    "tokens_per_second_per_device",
    "seconds_per_step",
    "common",
    "mean_rel_error",
    "bias",
    "bias_low",
    "bias_high",
    "verdict",
    "problem",
)


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A run that was asked for and could not be read."""

    name: str
    what: str
    why: str = ""


Entry = RunLog | Unread
"""In the order in which they were asked for."""


def table(entries: Sequence[Entry], comparisons: Sequence[Comparison], lang: str) -> Table:
    """A row a run, the reference last. `comparisons` are those of the runs that were read, or none."""
    logs = [entry for entry in entries if isinstance(entry, RunLog)]
    made = zoo_table(logs, comparisons, lang)
    rows, width = list(made.rows), len(made.headings)
    merged = []
    for name, entry in zip(names(entries), entries, strict=True):
        if isinstance(entry, Unread):
            merged.append((name, *[NOTHING] * (width - 2), f"{SAY[lang]['unread']}: {entry.what}"))
        else:
            merged.append((name, *rows.pop(0)[1:]))
    return Table(made.headings, (*merged, *rows))


def names(entries: Sequence[Entry]) -> list[str]:
    """What each run is called: short, and whole where two would be called the same."""
    short = [entry.name if isinstance(entry, Unread) else name_of(entry) for entry in entries]
    whole = [entry.name if isinstance(entry, Unread) else entry.source for entry in entries]
    twice = {name for name, count in Counter(short).items() if count > 1}
    return [long if name in twice else name for name, long in zip(short, whole, strict=True)]


def counted(entries: Sequence[Entry], comparisons: Sequence[Comparison], lang: str) -> str:
    """How many runs came to which verdict, and how many could not be read."""
    found = Counter(str(each.verdict) for each in comparisons)
    parts = [f"{found[verdict]} {verdict}" for verdict in Verdict if found[verdict]]
    unread = sum(isinstance(entry, Unread) for entry in entries)
    return ", ".join([*parts, *([f"{unread} {SAY[lang]['unread']}"] if unread else [])])


def heading(entries: Sequence[Entry], lang: str) -> str:
    """The title of the report."""
    return f"{words.WORDS[lang]['title']}: {SAY[lang]['title'].format(len(entries))}"


def blocks(
    entries: Sequence[Entry],
    comparisons: Sequence[Comparison],
    lang: str,
    *,
    differing: Sequence[Sequence[str]] = (),
) -> list[Block]:
    """The whole report: the verdicts, what was compared, the table, and why a run is not in it. `differing` are for
    each comparison the names of what is not the same in run and reference, the most suspicious first."""
    say = words.WORDS[lang]
    called = dict(zip(map(id, entries), names(entries), strict=True))
    made: list[Block] = []
    if comparisons:
        verdicts = {each.verdict for each in comparisons}
        if len(comparisons) < len(entries):
            verdicts.add(Verdict.INCONCLUSIVE)
        worst = next(v for v in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS) if v in verdicts)
        made += [Line(counted(entries, comparisons, lang), str(worst)), Heading(say["alignment"])]
    for each in comparisons:
        made.append(Line(f"{called[id(each.run)]}: {words.alignment_line(each, lang)}"))
        made += [Line(f"{called[id(each.run)]}: {translated(note, lang)}") for note in each.alignment.notes]
    told = [(called[id(each.run)], names) for each, names in zip(comparisons, differing, strict=False) if names]
    if told:
        made.append(Heading(SAY[lang]["differing"]))
        made += [Line(f"{name}: {_some(names)}") for name, names in told]
    made += [Heading(SAY[lang]["runs"]), table(entries, comparisons, lang)]
    lost = [entry for entry in entries if isinstance(entry, Unread)]
    if lost:
        made.append(Heading(SAY[lang]["failed"]))
        made += [Line(": ".join(filter(None, (entry.name, entry.what, entry.why)))) for entry in lost]
    return made


def _some(names: Sequence[str]) -> str:
    more = len(names) - FIRST
    return ", ".join(names[:FIRST]) + (f" (+{more})" if more > 0 else "")


def runs_csv(entries: Sequence[Entry], comparisons: Sequence[Comparison]) -> str:
    """A row a run, numbers unrounded; what is absent is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    compared = {id(each.run): each for each in comparisons}
    for name, entry in zip(names(entries), entries, strict=True):
        if isinstance(entry, Unread):
            writer.writerow({"run": name, "source": entry.name, "problem": entry.what})
        else:
            writer.writerow({"run": name, **_values(entry), **_errors(compared.get(id(entry)))})
    return out.getvalue()


def _values(log: RunLog) -> dict[str, object]:
    speed = throughput(log)
    return {
        "source": log.source,
        "points": len(log.points),
        "last_step": int(log.points.step[-1]) if len(log.points) else None,
        "last_loss": float(log.points.loss[-1]) if len(log.points) else None,
        "train_loss": log.final.train_loss,
        "samples_per_second": speed.samples_per_second,
        "tokens_per_second_per_device": speed.tokens_per_second_per_device,
        "seconds_per_step": speed.seconds_per_step,
    }


def _errors(comparison: Comparison | None) -> dict[str, object]:
    if comparison is None:
        return {}
    bias = comparison.statistics.gated_bias
    return {
        "common": comparison.statistics.points,
        "mean_rel_error": comparison.statistics.rel_error.mean,
        "bias": bias.mean,
        "bias_low": bias.low,
        "bias_high": bias.high,
        "verdict": str(comparison.verdict),
    }
