"""The story of a report on many runs: each is read for itself, and one that cannot be read loses no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmctl_reports import document, many
from llmctl_reports.document import Block
from llmctl_reports.explaining import explain
from llmctl_reports.many import Unread
from llmctl_reports.tables import Table
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

from llmctl.errors import ExitCode, LlmctlError, UsageError, worst
from llmctl.workflows.far import fetching
from llmctl.workflows.report import Report, as_text, plain, read_reference, report_on
from llmctl.workflows.report_sources import Asked, find_source, read_source


@dataclass(frozen=True, kw_only=True)
class ManyReport:
    """The reports on many runs, with one reference or none."""

    entries: tuple[Report | Unread, ...]
    """As they were asked for."""
    errors: tuple[LlmctlError, ...]
    """Why some could not be read."""
    folder: Path = Path("report-runs")
    name = "runs"

    @property
    def reports(self) -> list[Report]:
        """On the runs that were read."""
        return [entry for entry in self.entries if isinstance(entry, Report)]

    @property
    def exit_code(self) -> ExitCode:
        return worst([*(each.exit_code for each in self.reports), *(error.exit_code for error in self.errors)])

    @property
    def json(self) -> str:
        """The documented JSON, with what could not be read."""
        unread = [vars(entry) for entry in self.entries if isinstance(entry, Unread)]
        return as_text(plain(self.reports) | ({"unread": unread} if unread else {}))

    @property
    def explained(self) -> list[str]:
        """What the readers made of the logs."""
        return [line for each in self.reports for line in explain(each.run)]

    @property
    def spreadsheet(self) -> tuple[str, str]:
        """The table as CSV."""
        return "runs.csv", many.runs_csv(self._logs, self._comparisons)

    def heading(self, lang: str) -> str:
        """The title of a page."""
        return many.heading(self._logs, lang)

    def content(self, lang: str) -> list[Block]:
        """All of it, for a page."""
        differing = [[name for name, _, _ in each.differences] for each in self.reports if each.comparison]
        return many.blocks(self._logs, self._comparisons, lang, differing=differing)

    def pictures(self) -> dict[str, bytes]:
        """Raises UsageError: a picture shows one run."""
        raise UsageError("png draws one run", where="--format", hint="llmctl report RUN --format png")

    def shown(self, lang: str) -> list[Table | str]:
        """What a terminal shows: a row a run, why one could not be read, and the verdicts."""
        counted = many.counted(self._logs, self._comparisons, lang)
        return [many.table(self._logs, self._comparisons, lang), *map(str, self.errors), *filter(None, [counted])]

    def summary(self, lang: str) -> str:
        """Short Markdown for the page of a build."""
        return document.markdown(self.heading(lang), self.content(lang))

    @property
    def _logs(self) -> list[RunLog | Unread]:
        return [entry.run if isinstance(entry, Report) else entry for entry in self.entries]

    @property
    def _comparisons(self) -> list[Comparison]:
        return [each.comparison for each in self.reports if each.comparison is not None]


def report_many(given: Sequence[str], asked: Asked) -> ManyReport:
    """Read and compare each of `given`; otherwise as `make_report`. What makes one run unreadable is kept beside the
    others. Raises UsageError or NodeError for a reference that cannot be read."""
    entries: list[Report | Unread] = []
    errors: list[LlmctlError] = []
    with fetching(asked.moved) as fetch:
        reference = read_reference(asked, fetch)
        for each in given:
            try:
                source = find_source(each, asked.runs, fetch)
                entries.append(report_on(source, read_source(source, asked), asked, reference))
            except LlmctlError as error:
                errors.append(error)
                entries.append(Unread(name=each, what=error.what, why=error.why))
    return ManyReport(entries=tuple(entries), errors=tuple(errors))
