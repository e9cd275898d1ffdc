"""`llmctl logs`."""

from __future__ import annotations

from pathlib import Path

import typer


class Printer:
    """Log lines go to standard output, remarks to standard error."""

    def line(self, label: str, line: str) -> None:
        """Print one line behind the node and rank that it is of."""
        print(f"[{label}] {line}", flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """Print a remark."""
        typer.echo(text, err=True)


def logs(
    run: str | None = typer.Argument(None, help="A run id, its beginning, or a run folder; default: the newest."),
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on until the run has ended."),
    node: str | None = typer.Option(None, help="Of this node only."),
    rank: int | None = typer.Option(None, help="Of this global rank only."),
    grep: str | None = typer.Option(None, metavar="RE", help="Lines that this regular expression finds."),
    runs: Path | None = typer.Option(None, help="Where runs lie, besides those of the index."),
) -> None:
    """Print a run's logs, each line with its node and rank."""
    from llmctl.workflows.logs import LogFilter
    from llmctl.workflows.logs import logs as read

    wanted = LogFilter(node=node, rank=rank, pattern=grep)
    try:
        errors = read(run, runs=runs, wanted=wanted, follow=follow, reader=Printer())
    except KeyboardInterrupt:
        return
    for error in errors.values():
        typer.echo(f"llmctl: {error}", err=True)
    if errors:
        raise typer.Exit(5)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(logs)
