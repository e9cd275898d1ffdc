"""`llmctl doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

COLOURS = {"good": typer.colors.GREEN, "warn": typer.colors.YELLOW, "bad": typer.colors.RED}


def doctor(
    runs: Path | None = typer.Option(None, help="Where runs would lie."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Look at this machine: ssh, pdsh, Python, keys, names, clock, disk.

    No node is asked; `llmctl check NODES` does that."""
    from llmctl.errors import ExitCode
    from llmctl.workflows.doctor import doctor as examine

    rows = examine(runs)
    bad = sum(row.health == "bad" for row in rows)
    warned = sum(row.health == "warn" for row in rows)
    if as_json:
        told = {"schema": 1, "rows": [asdict(row) for row in rows], "bad": bad, "warn": warned}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        wide = max(len(row.what) for row in rows)
        for row in rows:
            typer.echo(f"{typer.style(f'{row.health:<4}', fg=COLOURS[row.health])} {row.what:<{wide}}  {row.found}")
            if row.next:
                typer.echo(f"     {'':<{wide}}  next: {row.next}")
        typer.echo(f"{len(rows)} rows: {bad} bad, {warned} to be minded")
    raise typer.Exit(int(ExitCode.BLOCKED if bad else ExitCode.OK))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)
