"""`llmctl diff`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer


def diff(
    left: str = typer.Argument(metavar="RUN_A", help="A run, its folder, or a log with settings beside it."),
    right: str = typer.Argument(metavar="RUN_B", help="The run to hold it against."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
    runs: Path | None = typer.Option(None, "--runs", envvar="LLMCTL_RUNS", help="The folder of the runs."),
) -> None:
    """Tell what differs between two runs: recipe, data, code, versions, devices; the most suspicious first."""
    from llmctl.workflows.differing import diff as ask

    found = ask(left, right, runs)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False, indent=2))
    elif not found:
        typer.echo("nothing that both runs tell of differs")
    else:
        from llmctl.cli.console import table

        table(["what", left, right], [[each.name, each.left or "-", each.right or "-"] for each in found])


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(diff)
