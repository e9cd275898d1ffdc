"""A report as blocks, in the order in which it is read, and the blocks as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llmctl_reports import words
from llmctl_reports.chinese import translated
from llmctl_reports.curves import Chart, charts
from llmctl_reports.next_checks import diagnosis_line
from llmctl_reports.speed_lines import speed_lines, speed_warnings
from llmctl_reports.tables import (
    Table,
    checks_table,
    differences_table,
    end_lines,
    error_lines,
    escaped,
    figures_table,
    logs_table,
    markdown_table,
    results_table,
    speed_table,
)
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison


@dataclass(frozen=True)
class Heading:
    """A heading of a section."""

    text: str


@dataclass(frozen=True)
class Line:
    """A paragraph; `verdict` is the class of a verdict's badge."""

    text: str
    verdict: str = ""


Block = Heading | Line | Chart | Table


def blocks(
    run: RunLog, comparison: Comparison | None, lang: str, *, differences: Sequence[tuple[str, str, str]] = ()
) -> list[Block]:
    """The whole report: verdict, what was compared, checks, what differs, then tables and charts. `differences` are
    (name, run, reference) beyond what the logs tell, the most suspicious first."""
    say = words.WORDS[lang]
    drawn = {chart.name: chart for chart in charts(run, comparison, lang)}
    made = [*_compared(run, comparison, lang)]
    if comparison:
        made += [Heading(say["checks"]), checks_table(comparison, lang)]
        known = {name for name, _, _ in differences}
        told = [(name, *pair) for name, pair in comparison.alignment.differences.items() if name not in known]
        if differences or told:
            made += [Heading(say["differences"]), differences_table([*differences, *told], lang)]
    reference = comparison.reference if comparison else None
    made += [Heading(say["results"]), results_table(run, reference, lang)]
    if comparison:
        made += map(Line, comparison_lines(comparison, lang))
    for name, heading in (("loss", "curve"), ("errors", "errors")):
        if name in drawn:
            made += [Heading(say[heading]), drawn[name]]
    if comparison and comparison.statistics.rel_error.mean is not None:
        made += [Heading(say["figures"]), Line(say["judged"]), figures_table(comparison, lang)]
    made += [Heading(say["speed"]), speed_table(run, reference, lang)]
    made += map(Line, speed_lines(run, reference, lang))
    for name in ("seconds", "grad_norm"):
        if name in drawn:
            made += [Heading(say[name]), drawn[name]]
    return [block for block in made if not (isinstance(block, Line) and not block.text)]


def comparison_lines(comparison: Comparison, lang: str) -> list[str]:
    """The figures of a comparison in sentences, as a terminal shows them too; without what is not known."""
    lines = [*error_lines(comparison, lang), words.bias_line(comparison, lang), *end_lines(comparison, lang)]
    return [line for line in (*lines, words.noise_line(comparison, lang)) if line]


def summary(title: str, run: RunLog, comparison: Comparison | None, lang: str) -> str:
    """Short Markdown for the page of a build: verdict, what was compared, checks, and both tables."""
    say = words.WORDS[lang]
    reference = comparison.reference if comparison else None
    made = [*_compared(run, comparison, lang)]
    if comparison:
        made += [checks_table(comparison, lang)]
    made += [results_table(run, reference, lang), speed_table(run, reference, lang)]
    made += map(Line, speed_warnings(run, reference, lang))
    if comparison:
        made += map(Line, comparison_lines(comparison, lang))
    return markdown(title, [block for block in made if block not in (Heading(say["alignment"]), Line(""))])


def markdown(title: str, content: Sequence[Block], pictures: Collection[str] = ()) -> str:
    """The report as Markdown. `pictures` are the names of the charts that lie as PNG beside it; others are left out."""
    parts = [f"# {escaped(title)}"]
    shown = [block for block in content if not isinstance(block, Chart) or block.name in pictures]
    for block, after in zip(shown, [*shown[1:], Heading("")], strict=True):
        match block:
            case Heading():
                if not isinstance(after, Heading):
                    parts.append(f"## {escaped(block.text)}")
            case Line():
                parts.append(f"**{escaped(block.text)}**" if block.verdict else escaped(block.text))
            case Chart():
                parts.append(f"![{escaped(block.title)}]({block.name}.png)")
            case Table():
                parts.append(markdown_table(block))
    return "\n\n".join(parts) + "\n"


def _compared(run: RunLog, comparison: Comparison | None, lang: str) -> list[Block]:
    """The verdict, and what it rests on."""
    say = words.WORDS[lang]
    reference = comparison.reference if comparison else None
    made: list[Block] = []
    if comparison:
        made.append(Line(words.conclusion(comparison, lang), str(comparison.verdict)))
        made.append(Line(diagnosis_line(comparison, lang)))
    made.append(Heading(say["alignment"] if comparison else say["sources"]))
    if comparison:
        made.append(Line(words.alignment_line(comparison, lang)))
    made.append(logs_table(run, reference, lang))
    made += [Line(translated(note, lang)) for note in (comparison.alignment.notes if comparison else run.notes)]
    for name, log in _named(run, reference):
        made += [Line(f"{say[name]}, {say['allowed']}: {finding}") for finding in log.allowed_findings]
        made += [Line(f"{say[name]}, {words.restart_line(restart, lang)}") for restart in log.restarts]
    return made


def _named(run: RunLog, reference: RunLog | None) -> list[tuple[str, RunLog]]:
    return [("run", run), *([("reference", reference)] if reference else [])]
