"""`llmctl ps`, `cancel`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import typer

from llmctl.cli.helping import HELP
from llmctl.cli.run_table import age

RUNS = typer.Option(None, help="Where runs lie, besides those of the index.")
AS_JSON = typer.Option(False, "--json", help="For machines.")


def ps(
    refresh: bool = typer.Option(False, "--refresh", help="Ask the nodes of the runs that have not ended."),
    as_json: bool = AS_JSON,
    show_help: bool = HELP,  # noqa: ARG001 - its callback did the work
) -> None:
    """List runs with their last known state and its age."""
    from llmctl.run.index import entries

    errors: list[str] = []
    if refresh:
        from llmctl.cli.watching import PlainWatcher
        from llmctl.workflows.status import refresh as ask

        errors = [str(outcome.error) for outcome in ask(entries(), PlainWatcher()) if outcome.error]
    now = time.time()
    rows = [
        {"run": e.run_id, "state": str(e.state), "age_seconds": round(now - e.updated), "nodes": list(e.nodes),
         "folder": e.path}
        for e in entries()
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif rows:
        wide = max(len(row["run"]) for row in rows)  # type: ignore[arg-type]
        typer.echo(f"{'run':<{wide}}  {'state':<9}  {'age':>8}  nodes")
        for row in rows:
            nodes: Any = row["nodes"]
            since = age(row["age_seconds"])  # type: ignore[arg-type]
            typer.echo(f"{row['run']:<{wide}}  {row['state']:<9}  {since:>8}  {','.join(nodes)}")
    else:
        typer.echo("no runs yet; try: llmctl run quickstart")
    for error in errors:
        typer.echo(f"llmctl: {error}", err=True)
    if errors:
        raise typer.Exit(5)


def cancel(
    run: str = typer.Argument(help="A run id, its beginning, or a run folder."), runs: Path | None = RUNS
) -> None:
    """End a run on all its nodes, and nothing else there."""
    from llmctl.cli.ending import assert_ended
    from llmctl.cli.watching import PlainWatcher
    from llmctl.errors import Interrupted
    from llmctl.workflows.lifecycle import cancel as end

    try:
        folder, outcomes = end(run, runs=runs, watcher=PlainWatcher())
    except KeyboardInterrupt:
        why = "nodes that were told already end it all the same; once more does not wait for their answer"
        raise Interrupted("nobody looks whether it ends everywhere", why=why, hint=f"llmctl cancel {run}") from None
    for outcome in outcomes:
        if outcome.error is None:
            typer.echo(f"{outcome.item}: {outcome.value} processes ended")
    assert_ended(folder, outcomes)
    if folder.read_manifest()["state"] == "SUCCEEDED":
        typer.echo(f"ended what {folder.run_id} had left on nodes that it lost; it has SUCCEEDED")
        return
    typer.echo(f"cancelled {folder.run_id}; continue it with: llmctl run --resume {folder.run_id}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(add_help_option=False)(ps)
    app.command()(cancel)
