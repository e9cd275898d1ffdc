"""`llmctl run`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmctl.cli.watching import PlainWatcher
    from llmctl.workflows.follow import Ending
    from llmctl.workflows.live import Live

SECOND_CHANCE = 3.0
"""Seconds after a first Ctrl-C in which a second one cancels the run."""


def run(
    recipe: str | None = typer.Argument(None, help="A recipe file, or the name of a shipped one."),
    sets: list[str] = typer.Option([], "--set", metavar="A.B=C", help="Change a key of the recipe; repeatable."),
    resume: str | None = typer.Option(None, "--resume", metavar="RUN", help="Continue a run from its checkpoint."),
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
    from llmctl.run.index import find_run
    from llmctl.workflows.run import RunRequest, begin, work_out

    request = RunRequest(
        source=recipe or "",
        sets=tuple(sets),
        runs=runs,
        allow_drift=tuple(allow_drift),
        collect=tuple(collect),
        resume=find_run(resume, runs) if resume else None,
    )
    if dry_run:
        from llmctl.cli.render import show

        show(work_out(request), texts=False)
        return
    from llmctl.cli.watching import make_watcher

    watcher = make_watcher()
    live = begin(request, watcher)
    try:
        if detach:
            _tell_follow_up(live)
            return
        _watch(live, watcher)
    finally:
        live.close()


def _watch(live: Live, watcher: PlainWatcher) -> None:
    from llmctl.workflows.keeping import keep

    try:
        with watcher:
            ending = keep(live, watcher)
    except KeyboardInterrupt:
        _leave(live, watcher)
        return
    _tell_ending(live, ending)


def _leave(live: Live, watcher: PlainWatcher) -> None:
    """The first Ctrl-C: the run goes on, unless a second one follows."""
    from llmctl.errors import Interrupted, ManyNodeErrors
    from llmctl.workflows.ending import cancel

    typer.echo(f"\nCtrl-C: the run goes on without you. Once more within {SECOND_CHANCE:.0f} s ends it.")
    try:
        time.sleep(SECOND_CHANCE)
    except KeyboardInterrupt:
        typer.echo("\nending it on all nodes")
        outcomes = cancel(live, watcher)
        errors = [outcome.error for outcome in outcomes if outcome.error]
        if errors:
            raise ManyNodeErrors(errors, what="not all nodes could be told to end it") from None
        raise Interrupted(f"{live.job.run_id} was cancelled", hint=f"llmctl run --resume {live.job.run_id}") from None
    _tell_follow_up(live)


def _tell_follow_up(live: Live) -> None:
    from llmctl.workflows.keeping import leave_keeper

    run_id = live.job.run_id
    leave_keeper(live.folder)
    typer.echo(f"  llmctl status {run_id}\n  llmctl logs {run_id} -f\n  llmctl cancel {run_id}")
    typer.echo(f"detached; {run_id} goes on")


def _tell_ending(live: Live, ending: Ending) -> None:
    from llmctl.errors import Interrupted, JobFailed, NodeError
    from llmctl.run.states import State

    run_id = live.job.run_id
    if ending.state is State.SUCCEEDED:
        manifest = live.folder.read_manifest()
        typer.echo(f"SUCCEEDED: {run_id}, {ending.progress.step} steps, last loss {ending.progress.loss or 0:.4f}")
        typer.echo(f"  records: {live.folder.root}\n  weights: {manifest['output']}")
        typer.echo(f"  next: llmctl report {run_id} --compare {manifest['reference'] or 'REFERENCE'}")
        return
    if ending.state is State.CANCELLED:
        raise Interrupted(f"{run_id} was cancelled", hint=f"llmctl run --resume {run_id}")
    if ending.failure is not None:
        from llmctl.cli.failing import show_failure

        show_failure(ending.failure)
    if ending.state is State.LOST:
        raise NodeError(
            f"{run_id} lost {', '.join(ending.lost)}",
            hint=f"llmctl check {' '.join(ending.lost)}; then llmctl run --resume {run_id}",
        )
    raise JobFailed(
        f"{run_id} failed",
        hint=f"llmctl logs {run_id}; when it is mended: llmctl run --resume {run_id}",
    )


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
