"""How the end of a run is told, and how one comes back to a run that is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmctl.remote.fanout import Outcome
    from llmctl.run.folder import RunFolder
    from llmctl.workflows.watching import Ending


def tell_ending(folder: RunFolder, ending: Ending) -> None:
    """Print how a run ended. Raises Interrupted for a cancelled run, NodeError for a lost one, JobFailed for a failed
    one."""
    from llmctl.errors import Interrupted, JobFailed, NodeError
    from llmctl.run.states import State

    run_id = folder.run_id
    if ending.state is State.SUCCEEDED:
        manifest = folder.read_manifest()
        typer.echo(f"SUCCEEDED: {run_id}, {ending.progress.step} steps, last loss {ending.progress.loss or 0:.4f}")
        typer.echo(f"  records: {folder.root}\n  weights: {manifest['output']}")
        typer.echo(f"  next: llmctl report {run_id} --compare {manifest['reference'] or 'REFERENCE'}")
        return
    if ending.state is State.CANCELLED:
        raise Interrupted(f"{run_id} was cancelled", hint=f"llmctl run --resume {run_id}")
    if ending.failure is not None:
        from llmctl.cli.failing import show_failure

        show_failure(ending.failure)
    if ending.why:
        typer.echo(f"not started again: {ending.why}", err=True)
    if ending.state is State.LOST:
        raise NodeError(
            f"{run_id} lost {', '.join(ending.lost) or 'its nodes'}",
            hint=f"llmctl {_look_at(ending.lost, run_id)}; then llmctl run --resume {run_id}",
        )
    raise JobFailed(
        f"{run_id} failed",
        hint=f"llmctl logs {run_id}; when it is mended: llmctl run --resume {run_id}",
    )


def _look_at(lost: tuple[str, ...], run_id: str) -> str:
    return f"check {' '.join(lost)}" if lost else f"status {run_id}"


def assert_ended(folder: RunFolder, outcomes: Sequence[Outcome[str, int]]) -> None:
    """Raise ManyNodeErrors when a run that is cancelled may still run on some of its nodes."""
    from llmctl.checks.folding import fold
    from llmctl.errors import ManyNodeErrors

    failed = {outcome.item: outcome.error for outcome in outcomes if outcome.error}
    if failed:
        alike = {str(error): error for error in failed.values()}  # as of a machine that leads to all of them
        raise ManyNodeErrors(
            list(alike.values()),
            what=f"{folder.run_id} may still run on {fold(list(failed))}",
            hint=f"when that is mended, once more: llmctl cancel {folder.run_id}",
        )


def tell_follow_up(folder: RunFolder, *, err: bool = False) -> None:
    """Leave somebody in the background who acts for the run, and print the commands to come back to it."""
    from llmctl.workflows.keeping import leave_keeper

    run_id = folder.run_id
    leave_keeper(folder)
    for words in ("attach", "status", "logs -f", "cancel"):
        verb, _, option = words.partition(" ")
        typer.echo(f"  llmctl {verb} {run_id} {option}".rstrip(), err=err)
    typer.echo(f"detached; {run_id} goes on", err=err)
