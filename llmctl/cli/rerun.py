"""`llmctl rerun`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer


def rerun(
    run: str = typer.Argument(help="A run id, its beginning, or a run folder."),
    profile: str | None = typer.Option(
        None, "--profile", metavar="NAME", help="What judges the comparison, in place of the recipe's: exact, seed, ..."
    ),
    sets: list[str] = typer.Option([], "--set", metavar="A.B=C", help="Change a key of its recipe; repeatable."),
    allow_drift: list[str] = typer.Option([], metavar="CODE", help="Go on despite this finding; repeatable."),
    runs: Path | None = typer.Option(None, "--runs", envvar="LLMCTL_RUNS", help="The folder of the runs."),
) -> None:
    """Make a run again from its own folder, and hold the new one against it.

    Recipe, nodes and data are the same, or it does not start. Ctrl-C is as in `llmctl run`."""
    from llmctl.cli.leaving import starting, watch
    from llmctl.cli.report_shown import finish
    from llmctl.cli.watching import make_watcher
    from llmctl.run.states import State
    from llmctl.workflows.keeping import keep
    from llmctl.workflows.report import make_report
    from llmctl.workflows.report_files import FILES
    from llmctl.workflows.report_sources import Asked
    from llmctl.workflows.rerun import repeated
    from llmctl.workflows.run import begin

    asked = Asked(profile=profile, runs=runs)
    request, remarks = repeated(run, sets=sets, runs=runs, allow_drift=allow_drift)
    first = str(request.repeat.root) if request.repeat else run
    watcher = make_watcher()
    for remark in remarks:
        watcher.note(remark)
    with starting():
        live = begin(request, watcher)
    try:
        watch(live.folder, watcher, lambda: keep(live, watcher))
    finally:
        live.close()
    new = live.folder
    if new.read_manifest()["state"] != State.SUCCEEDED:
        typer.echo(f"when it has ended: llmctl report {new.run_id} --compare {first}")
        return
    made = make_report(str(new.root), replace(asked, reference=first))
    finish(made, formats=FILES, languages=("en",), output=None)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(rerun)
