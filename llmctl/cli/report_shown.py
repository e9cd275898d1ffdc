"""What all commands that end in a report do with it: print it, write its files, exit with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmctl_reports.tables import Table

    from llmctl.workflows.many import ManyReport
    from llmctl.workflows.report import Report


def show(parts: Sequence[Table | str]) -> None:
    """Print tables and lines."""
    from llmctl.cli.console import table

    for part in parts:
        if isinstance(part, str):
            typer.echo(part)
        else:
            table(part.headings, part.rows)


def finish(made: Report | ManyReport, *, formats: Sequence[str], languages: Sequence[str], output: Path | None) -> None:
    """Write a report, show it and tell where it is; json or summary alone, with no place to go, is all that is printed.
    Raises Exit with the verdict's code."""
    from llmctl.workflows.report_files import write_report

    if output is None and tuple(formats) == ("json",):
        typer.echo(made.json, nl=False)
    elif output is None and tuple(formats) == ("summary",):
        typer.echo("\n".join(made.summary(language) for language in languages), nl=False)
    else:
        paths = write_report(made, formats=formats, languages=languages, output=output)
        show(made.shown(languages[0]))
        typer.echo(f"report: {paths[0]}")
    raise typer.Exit(int(made.exit_code))
