"""The story of `llmctl report`: read the logs, compare them, and give all that is shown of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl_reports import document, tables, words
from llmctl_reports.as_json import as_json
from llmctl_reports.chinese import translated
from llmctl_reports.document import Block
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.next_checks import diagnosis_line
from llmctl_reports.profiles import Verdict
from llmctl_reports.sparkline import sparkline
from llmctl_reports.speed_lines import speed_warnings
from llmctl_reports.table_check import Slip, slips, table_rows
from llmctl_reports.tables import Table
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison, compare

from llmctl.errors import ExitCode, UsageError
from llmctl.run.differences import Told, differences
from llmctl.workflows.differing import told_of
from llmctl.workflows.far import Fetch, fetching
from llmctl.workflows.report_sources import Asked, Source, find_source, judged_by, read_source, reference_of

EXIT_CODES = {
    Verdict.PASS: ExitCode.OK,
    Verdict.FAIL: ExitCode.FAILED,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


AS_IS = Asked()
FIRST = 8
"""Differences of two runs that a terminal shows, the most suspicious ones."""
NOT_COMPARED = "not compared; the recipe names a reference: llmctl report --compare "


@dataclass(frozen=True)
class Report:
    """A run's log and, if asked for, its comparison."""

    run: RunLog
    comparison: Comparison | None
    folder: Path
    """Where its files go unless the user says otherwise."""
    title: str
    differences: tuple[tuple[str, str, str], ...] = ()
    """(name, run, reference) of what two runs tell of themselves, the most suspicious first."""
    suggested: str | None = None
    """The reference that the run's recipe names, when it was not compared with anything."""

    name = "report"

    @property
    def exit_code(self) -> ExitCode:
        return EXIT_CODES[self.comparison.verdict] if self.comparison else ExitCode.OK

    @property
    def json(self) -> str:
        """The documented JSON."""
        return as_text(plain([self]))

    @property
    def spreadsheet(self) -> tuple[str, str]:
        """Every point as CSV."""
        return "points.csv", tables.points_csv(self.run, self.comparison)

    @property
    def explained(self) -> list[str]:
        """What the readers made of the logs."""
        return [
            line for log in (self.run, self.comparison and self.comparison.reference) if log for line in explain(log)
        ]

    def heading(self, lang: str) -> str:
        """The title of a page."""
        return f"{words.WORDS[lang]['title']}: {self.title}"

    def summary(self, lang: str) -> str:
        """Short Markdown for the page of a build."""
        return document.summary(self.heading(lang), self.run, self.comparison, lang)

    def content(self, lang: str) -> list[Block]:
        """All of it, for a page."""
        return document.blocks(self.run, self.comparison, lang, differences=self.differences)

    def pictures(self) -> dict[str, bytes]:
        """PNG files by name."""
        from llmctl_reports.pictures import pictures

        return pictures(self.run, self.comparison)

    def shown(self, lang: str) -> list[Table | str]:
        """What a terminal shows: results and throughput, curve, errors, verdict."""
        found = self.comparison
        reference = found.reference if found else None
        lines = [f"loss {sparkline(self.run.points.loss)}"] if len(self.run.points) else []
        without = [log for log in (self.run, reference) if log is not None and not len(log.points)]
        lines += [f"{log.source}: {translated(note, lang)}" for log in without for note in log.notes]
        if found is not None:
            lines += [*document.comparison_lines(found, lang), words.alignment_line(found, lang)]
            lines += [words.conclusion(found, lang), diagnosis_line(found, lang)]
        differ = self.differences
        dropped = ", ".join(f"{count} x {reason}" for reason, count in self.run.dropped.items())
        return [
            tables.results_table(self.run, reference, lang),
            tables.speed_table(self.run, reference, lang),
            *([tables.differences_table(differ[:FIRST], lang)] if differ else []),
            *([f"... {len(differ) - FIRST} more stand in the report"] if differ[FIRST:] else []),
            *speed_warnings(self.run, reference, lang),
            *filter(None, lines),
            *([f"left out of the run's log: {dropped}"] if dropped else []),
            *([f"{NOT_COMPARED}{self.suggested}"] if self.suggested else []),
        ]


def plain(reports: Sequence[Report]) -> dict[str, Any]:
    """The documented values, with what differs between runs beside their comparison."""
    compared = [each for each in reports if each.comparison is not None]
    value = as_json([each.run for each in reports], [each.comparison for each in compared if each.comparison])
    for comparison, each in zip(value["comparisons"], compared, strict=True):
        comparison["differences"] = [
            {"name": name, "run": run, "reference": reference} for name, run, reference in each.differences
        ]
    return value


def as_text(value: dict[str, Any]) -> str:
    """JSON as it is written."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def make_report(given: str | None, asked: Asked = AS_IS) -> Report:
    """Read and compare. `given` is a run's id, its folder, a log file, or `host:path`; None is the newest run.

    Raises UsageError for what cannot be found or read, NodeError for a machine that cannot be reached."""
    with fetching(asked.moved) as fetch:
        source = find_source(given, asked.runs, fetch)
        return report_on(source, read_source(source, asked), asked, read_reference(asked, fetch))


@dataclass(frozen=True)
class Reference:
    """What runs are held against."""

    log: RunLog
    told: Told | None
    """What it tells of its recipe and machines."""
    others: tuple[RunLog, ...] = ()
    """Further runs of it, which tell its noise."""


def read_reference(asked: Asked, fetch: Fetch) -> Reference | None:
    """What is compared with; None where nothing is. Raises as `make_report` does."""
    if asked.reference is None:
        return None
    source = find_source(asked.reference, asked.runs, fetch)
    others = [read_source(find_source(each, asked.runs, fetch)) for each in asked.noise]
    return Reference(read_source(source), told_of(source.path), tuple(others))


def report_on(source: Source, run: RunLog, asked: Asked, reference: Reference | None) -> Report:
    """The report on a log that was read, by the profile and limits of its own recipe unless others are asked for."""
    if reference is None:
        return Report(run, None, source.report, source.title, suggested=reference_of(source))
    profile, limits = judged_by(source, asked.profile)
    told = told_of(source.path)
    differ = differences(told, reference.told) if told and reference.told else []
    return Report(
        run,
        compare(run, reference.log, profile=profile, limits=limits, others=reference.others),
        source.report,
        source.title,
        tuple((each.name, each.left or "-", each.right or "-") for each in differ),
    )


def check_table(path: Path, per_device: float | None) -> tuple[int, list[Slip]]:
    """How many rows the throughput tables of a Markdown file have, and those that do not add up. Raises UsageError when
    there is no such file or table."""
    try:
        rows = table_rows(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the file cannot be read", where=str(path), why=str(error)) from None
    except ReportError as error:
        raise UsageError(error.what, where=str(path), why=error.why, hint=error.hint) from None
    return len(rows), slips(rows, per_device)
