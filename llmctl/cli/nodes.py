"""`llmctl nodes clean`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmctl.errors import LlmctlError
    from llmctl.workflows.clean import Cleaned, Leftovers

nodes = typer.Typer(help="What lies on nodes.", rich_markup_mode=None)


@nodes.callback()
def about() -> None:
    """What lies on nodes."""


@nodes.command("clean")
def clean(
    names: list[str] = typer.Argument(None, metavar="NODES...", help="node[1-4], root@n=10.0.0.1, @group."),
    run: str | None = typer.Option(None, help="Only what this run left, on its nodes."),
    runs: Path | None = typer.Option(None, help="Where runs lie, besides those of the index."),
    folders: bool = typer.Option(False, "--folders", help="Run folders on the nodes too, with their checkpoints."),
    older_than: float | None = typer.Option(None, metavar="DAYS", min=0, help="For --folders: unchanged for so long."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show what would go."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Find what dead runs left on nodes, and end it.

    Processes, half-done copies and device leases of runs that are over; what lives and what is another user's stays."""
    from llmctl.errors import NodeError, UsageError
    from llmctl.workflows.clean import CleanRequest, open_nodes

    if folders != (older_than is not None):
        raise UsageError("--folders and --older-than go together", hint="--folders --older-than 30")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("there is no terminal to ask at", hint="--dry-run shows what would go, --yes lets it go")
    request = CleanRequest(nodes=tuple(names or ()), run=run, runs=runs, older_than=older_than)
    cleaning = open_nodes(request)
    try:
        outcomes = cleaning.look()
        found = {outcome.item: outcome.value for outcome in outcomes if outcome.value}
        errors: dict[str, LlmctlError] = {o.item: o.error for o in outcomes if o.error}
        if not as_json:
            for each in found.values():
                _show(each)
        done: dict[str, Cleaned] = {}
        todo = [each for each in found.values() if each.anything]
        if todo and not dry_run and (yes or typer.confirm("let it go?", err=True)):
            from llmctl.remote.fanout import fan_out

            for outcome in fan_out([each.node for each in todo], lambda node: cleaning.clean(found[node])):
                if outcome.value is not None:
                    done[outcome.item] = outcome.value
                elif outcome.error is not None:
                    errors[outcome.item] = outcome.error
    finally:
        cleaning.close()
    if as_json:
        typer.echo(json.dumps(_plain(cleaning.names, found, done, errors), ensure_ascii=False, indent=2))
    else:
        for node, result in done.items():
            typer.echo(f"{node}: {result.ended} processes ended, {result.removed} removed")
            for error in result.errors:
                typer.echo(f"{node}: {error}", err=True)
        for node_error in errors.values():
            typer.echo(f"llmctl: {node_error}", err=True)
    if errors or any(result.errors for result in done.values()):
        raise typer.Exit(int(NodeError.exit_code))


def _show(found: Leftovers) -> None:
    for each in found.processes:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["since"]))
        typer.echo(f"{found.node}: process {each['pid']} ({each['name']}) of run {each['run_id']} since {since}")
    for each in found.partial:
        typer.echo(f"{found.node}: half-done copy {each['path']}, {each['bytes'] / 1e6:.1f} MB")
    for each in found.folders:
        size = f"{each['bytes'] / 1e6:.1f} MB"
        typer.echo(f"{found.node}: run folder {each['path']}, unchanged for {each['days']:.0f} days, {size}")
    for lease in found.leases:
        typer.echo(f"{found.node}: stale lease of {lease.device}, run {lease.run_id}")
    for run_id, why in found.kept.items():
        typer.echo(f"{found.node}: run {run_id} stays: {why}")
    if not found.anything:
        typer.echo(f"{found.node}: nothing is left over")


def _plain(
    names: tuple[str, ...],
    found: dict[str, Leftovers],
    done: dict[str, Cleaned],
    errors: dict[str, LlmctlError],
) -> dict[str, Any]:
    from dataclasses import asdict

    rows = []
    for name in names:
        row: dict[str, Any] = {"node": name, "error": str(errors[name]) if name in errors else None}
        row["found"] = asdict(found[name]) if name in found else None
        row["done"] = asdict(done[name]) if name in done else None
        rows.append(row)
    return {"schema": 1, "nodes": rows}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(nodes, name="nodes")
