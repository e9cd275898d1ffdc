"""`llmctl runs prune`."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmctl.remote.fanout import Outcome
    from llmctl.run.index import IndexEntry
    from llmctl.workflows.pruning import Candidate, Pruned

runs = typer.Typer(help="What is stored of runs.", rich_markup_mode=None)


@runs.callback()
def about() -> None:
    """What is stored of runs."""


@runs.command("prune")
def prune(
    older_than: str | None = typer.Option(None, metavar="AGE", help="Ended so long ago: 90m, 12h, 30d, 4w."),
    keep: int | None = typer.Option(None, min=0, help="Keep so many of the newest runs that have ended."),
    states: list[str] = typer.Option([], "--state", help="SUCCEEDED, FAILED, CANCELLED or LOST; repeatable."),
    nodes: bool = typer.Option(False, "--nodes", help="Also their folders on the nodes."),
    checkpoints: bool = typer.Option(False, "--checkpoints", help="Also weights and checkpoints."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show what would go."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Remove runs that are over from this machine, and on request from their nodes.

    All conditions that are given must hold."""
    from llmctl.errors import UsageError, worst
    from llmctl.workflows.pruning import PruneRequest, Pruning, seconds_of

    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("there is no terminal to ask at", hint="--dry-run shows what would go, --yes lets it go")
    request = PruneRequest(
        older_than=seconds_of(older_than) if older_than else None,
        keep=keep,
        states=tuple(_state(name) for name in states),
        nodes=nodes,
        checkpoints=checkpoints,
    )
    pruning = Pruning(request)
    try:
        looked = pruning.look()
        todo = [found.value for found in looked if found.value and not found.value.stays]
        if not as_json:
            _show(looked)
        done: list[Outcome[str, Pruned]] = []
        if todo and not dry_run and (yes or typer.confirm("remove them?", err=True)):
            done = pruning.remove(todo)
    finally:
        pruning.close()
    if as_json:
        typer.echo(json.dumps(_plain(looked, done), ensure_ascii=False, indent=2))
    else:
        for outcome in done:
            left = (
                f"; its weights stay: {', '.join(outcome.value.left)}" if outcome.value and outcome.value.left else ""
            )
            if outcome.value:
                typer.echo(f"removed {outcome.item}{left}")
    errors = [outcome.error for outcome in looked if outcome.error]
    errors += [outcome.error for outcome in done if outcome.error]
    for error in errors:
        typer.echo(f"llmctl: {error}", err=True)
    if errors:
        raise typer.Exit(int(worst([error.exit_code for error in errors])))


def _state(name: str) -> Any:
    from llmctl.errors import UsageError
    from llmctl.run.states import ENDED, State

    if name.upper() not in ENDED:
        raise UsageError(f"--state {name}: no state of a run that is over", hint=f"one of {', '.join(sorted(ENDED))}")
    return State(name.upper())


def _show(looked: Sequence[Outcome[IndexEntry, Candidate]]) -> None:
    from llmctl.checks.estimate import in_gb
    from llmctl.cli.console import table
    from llmctl.cli.run_table import age

    if not looked:
        typer.echo("no run to remove")
        return
    now, rows, whole = time.time(), [], 0
    for found in looked:
        entry, value = found.item, found.value
        here, there = (value.size, sum(value.on_nodes.values())) if value else (0, 0)
        whole += here + there if value and not value.stays else 0
        fate = "cannot be read" if value is None else f"stays: {value.stays}" if value.stays else "goes"
        rows.append([entry.run_id, entry.state, age(now - entry.updated), in_gb(here), in_gb(there), fate])
    table(["run", "state", "age", "here", "on nodes", ""], rows)
    typer.echo(f"frees at most {in_gb(whole)}")


def _plain(
    looked: Sequence[Outcome[IndexEntry, Candidate]], done: Sequence[Outcome[str, Pruned]]
) -> list[dict[str, Any]]:
    ends = {outcome.item: outcome for outcome in done}
    rows = []
    for found in looked:
        entry, value, end = found.item, found.value, ends.get(found.item.run_id)
        error = found.error or (end.error if end else None)
        rows.append(
            {
                "run": entry.run_id,
                "state": str(entry.state),
                "folder": entry.path,
                "bytes": value.size if value else None,
                "nodes": dict(value.on_nodes) if value else {},
                "stays": value.stays or None if value else None,
                "removed": bool(end and end.value),
                "left": list(end.value.left) if end and end.value else [],
                "error": str(error) if error else None,
            }
        )
    return rows


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(runs, name="runs")
