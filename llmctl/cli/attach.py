"""`llmctl attach`."""

from __future__ import annotations

from pathlib import Path

import typer


def attach(
    run: str | None = typer.Argument(None, help="A run id, its beginning, or a run folder; default: the newest."),
    runs: Path | None = typer.Option(None, help="Where runs lie, besides those of the index."),
) -> None:
    """Come back to a run: what happened so far, then its stream until the end.

    Exits as `run` does. Ctrl-C leaves the run alone and returns; a second one ends it."""
    from llmctl.cli.leaving import watch
    from llmctl.cli.watching import make_watcher
    from llmctl.run.index import find_run, runs_folder
    from llmctl.workflows.attach import attach as follow

    folder = find_run(run, runs_folder(runs))
    watcher = make_watcher("asking the nodes")
    watch(folder, watcher, lambda: follow(folder, watcher))


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(attach)
