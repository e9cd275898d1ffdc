"""The story of `llmctl report`: read the logs, compare them, and give all that is shown of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmctl_reports import document, tables, words
from llmctl_reports.as_json import as_json
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.profiles import Verdict
from llmctl_reports.sparkline import sparkline
from llmctl_reports.table_check import Slip, slips, table_rows
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison, compare

from llmctl.errors import ExitCode, UsageError
from llmctl.run.differences import Told, differences
from llmctl.workflows.differing import told_of
from llmctl.workflows.far import Fetch, Moved, fetching
from llmctl.workflows.report_sources import Source, find_source, judged_by, read_source, reference_of

EXIT_CODES = {
    Verdict.PASS: ExitCode.OK,
    Verdict.FAIL: ExitCode.FAILED,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


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

    @property
    def exit_code(self) -> ExitCode:
        return EXIT_CODES[self.comparison.verdict] if self.comparison else ExitCode.OK

    @property
    def json(self) -> str:
        """The documented JSON."""
        value = as_json([self.run], [self.comparison] if self.comparison else [])
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def curve(self) -> str:
        """The losses as one line for a terminal."""
        return sparkline(self.run.points.loss)

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

    @property
    def verdict(self) -> str:
        """One line, empty without a comparison."""
        return words.verdict_line(self.comparison) if self.comparison else ""

    def tables(self, lang: str) -> list[tables.Table]:
        """Results and throughput."""
        reference = self.comparison.reference if self.comparison else None
        return [tables.results_table(self.run, reference, lang), tables.speed_table(self.run, reference, lang)]

    def errors(self, lang: str) -> list[str]:
        """Absolute and relative error, bias, and what was aligned; empty without a comparison."""
        if self.comparison is None:
            return []
        return [
            *tables.error_lines(self.comparison, lang),
            words.bias_line(self.comparison, lang),
            words.noise_line(self.comparison, lang),
            words.alignment_line(self.comparison, lang),
        ]


def make_report(
    given: str | None,
    reference: str | None,
    runs: Path | None,
    *,
    profile: str | None = None,
    noise: Sequence[str] = (),
    format_in: str | None = None,
    moved: Moved = lambda *_: None,
) -> Report:
    """Read and compare. `given`, `reference` and `noise` (further runs of the reference) are a run's id, its folder, a
    log file, or `host:path`; without `given` the newest run; without `profile` that of the run's recipe, or seed.
    `format_in` names the format of the run's log; `moved` is told what comes from other machines.

    Raises UsageError for what cannot be found or read, NodeError for a machine that cannot be reached."""
    with fetching(moved) as fetch:
        source = find_source(given, runs, fetch)
        if noise and reference is None:
            raise UsageError("there is no reference to know the noise of", where="--noise", hint="--compare REF")
        run = read_source(source, format_in)
        judged = judged_by(source, profile)
        if reference is None:
            return Report(run, None, source.report, source.title, suggested=reference_of(source))
        others = [read_source(find_source(each, runs, fetch)) for each in noise]
        return compared(source, run, read_reference(reference, runs, fetch), judged, others)


@dataclass(frozen=True)
class Reference:
    """What runs are held against."""

    log: RunLog
    told: Told | None
    """What it tells of its recipe and machines."""


def read_reference(given: str, runs: Path | None, fetch: Fetch) -> Reference:
    """The log that `--compare` names. Raises as `make_report` does."""
    source = find_source(given, runs, fetch)
    return Reference(read_source(source), told_of(source.path))


def compared(
    source: Source,
    run: RunLog,
    reference: Reference,
    judged: tuple[str, Mapping[str, float]],
    others: Sequence[RunLog] = (),
) -> Report:
    """A run against its reference; `judged` are the profile and its own limits."""
    profile, limits = judged
    told = told_of(source.path)
    differ = differences(told, reference.told) if told and reference.told else []
    return Report(
        run,
        compare(run, reference.log, profile=profile, limits=limits, others=others),
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
