"""`llmctl run`."""

from __future__ import annotations

from pathlib import Path

import typer


def run(
    recipe: str | None = typer.Argument(None, help="A recipe file, or the name of a shipped one."),
    sets: list[str] = typer.Option([], "--set", metavar="A.B=C", help="Change a key of the recipe; repeatable."),
    resume: str | None = typer.Option(None, "--resume", metavar="RUN", help="Continue a run from its checkpoint."),
    name: str | None = typer.Option(None, "--name", help="In place of the recipe's name in the run id."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show every file and command; start nothing."),
    detach: bool = typer.Option(False, "--detach", help="Return as soon as the processes are started."),
    allow_drift: list[str] = typer.Option([], metavar="CODE", help="Go on despite this finding; repeatable."),
    collect: list[str] = typer.Option([], metavar="weights", help="Bring the final weights back too."),
    runs: Path | None = typer.Option(None, help="Where runs lie (default: $LLMCTL_RUNS or ./runs)."),
) -> None:
    """Check, stage, start, follow and collect a run.

    Ctrl-C leaves the run alone and returns; a second one ends it."""
    from llmctl.errors import UsageError

    if set(collect) - {"weights"}:
        raise UsageError(f"--collect {' '.join(collect)} is not understood", hint="--collect weights")
    if (recipe is None) == (resume is None):
        raise UsageError("give a recipe, or --resume with a run", hint="llmctl run quickstart")
    if name is not None and resume is not None:
        raise UsageError("--name is for a new run", hint=f"llmctl run --resume {resume}")
    from llmctl.run.index import find_run, runs_folder
    from llmctl.workflows.run import RunRequest, begin, work_out

    request = RunRequest(
        source=recipe or "",
        sets=tuple(sets),
        runs=runs,
        allow_drift=tuple(allow_drift),
        collect=tuple(collect),
        name=name,
        resume=find_run(resume, runs_folder(runs)) if resume else None,
    )
    if dry_run:
        from llmctl.cli.render import show

        show(work_out(request), texts=False)
        return
    from llmctl.cli.ending import tell_follow_up
    from llmctl.cli.leaving import starting, watch
    from llmctl.cli.watching import make_watcher
    from llmctl.workflows.keeping import keep

    watcher = make_watcher()
    with starting():
        live = begin(request, watcher)
    try:
        if detach:
            tell_follow_up(live.folder)
        else:
            watch(live.folder, watcher, lambda: keep(live, watcher))
    finally:
        live.close()


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
