"""The story of a report on many runs: each is read for itself, and one that cannot be read loses no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmctl_reports import document, many
from llmctl_reports.as_json import as_json
from llmctl_reports.document import Block
from llmctl_reports.explaining import explain
from llmctl_reports.many import Unread
from llmctl_reports.tables import Table
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

from llmctl.errors import ExitCode, LlmctlError, UsageError, worst
from llmctl.workflows.far import fetching
from llmctl.workflows.report import EXIT_CODES, read_reference, report_on
from llmctl.workflows.report_sources import Asked, find_source, read_source


@dataclass(frozen=True, kw_only=True)
class ManyReport:
    """The logs of many runs, and if asked for, their comparisons with one reference."""

    entries: tuple[RunLog | Unread, ...]
    comparisons: tuple[Comparison, ...]
    """Of those that were read; none without a reference."""
    errors: tuple[LlmctlError, ...]
    """Why the others were not."""
    folder: Path = Path("report-runs")
    name = "runs"

    @property
    def exit_code(self) -> ExitCode:
        codes = [EXIT_CODES[each.verdict] for each in self.comparisons]
        return worst([*codes, *(error.exit_code for error in self.errors)])

    @property
    def runs(self) -> list[RunLog]:
        """Those that were read."""
        return [entry for entry in self.entries if isinstance(entry, RunLog)]

    @property
    def json(self) -> str:
        """The documented JSON, with what could not be read."""
        unread = [vars(entry) for entry in self.entries if isinstance(entry, Unread)]
        value = as_json(self.runs, self.comparisons) | ({"unread": unread} if unread else {})
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def explained(self) -> list[str]:
        """What the readers made of the logs."""
        return [line for log in self.runs for line in explain(log)]

    @property
    def spreadsheet(self) -> tuple[str, str]:
        """The table as CSV."""
        return "runs.csv", many.runs_csv(self.entries, self.comparisons)

    def heading(self, lang: str) -> str:
        """The title of a page."""
        return many.heading(self.entries, lang)

    def content(self, lang: str) -> list[Block]:
        """All of it, for a page."""
        return many.blocks(self.entries, self.comparisons, lang)

    def pictures(self) -> dict[str, bytes]:
        """Raises UsageError: a picture shows one run."""
        raise UsageError("png draws one run", where="--format", hint="llmctl report RUN --format png")

    def shown(self, lang: str) -> list[Table | str]:
        """What a terminal shows: a row a run, why one could not be read, and the verdicts."""
        counted = many.counted(self.entries, self.comparisons, lang)
        return [many.table(self.entries, self.comparisons, lang), *map(str, self.errors), *filter(None, [counted])]

    def summary(self, lang: str) -> str:
        """Short Markdown for the page of a build."""
        return document.markdown(self.heading(lang), self.content(lang))


def report_many(given: Sequence[str], asked: Asked) -> ManyReport:
    """Read and compare each of `given`; otherwise as `make_report`. What makes one run unreadable is kept beside the
    others. Raises UsageError or NodeError for a reference that cannot be read."""
    entries: list[RunLog | Unread] = []
    comparisons: list[Comparison] = []
    errors: list[LlmctlError] = []
    with fetching(asked.moved) as fetch:
        reference = read_reference(asked, fetch)
        for each in given:
            try:
                source = find_source(each, asked.runs, fetch)
                made = report_on(source, read_source(source, asked), asked, reference)
            except LlmctlError as error:
                errors.append(error)
                entries.append(Unread(name=each, what=error.what, why=error.why))
                continue
            entries.append(made.run)
            comparisons += [made.comparison] if made.comparison else []
    return ManyReport(entries=tuple(entries), comparisons=tuple(comparisons), errors=tuple(errors))
