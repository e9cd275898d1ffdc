"""The attempts of a run as its manifest holds them: noted when they begin and end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from llmctl.run.attempts import Attempt, Reason, opened_attempts, read_attempts
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.run.states import State
from llmctl.workflows.watching import Ending


class Cancelled(Exception):
    """Somebody cancelled the run while it was being started again."""


def note_attempt(folder: RunFolder, ending: Ending) -> None:
    """Write down how the last attempt ended."""

    def ended(manifest: Mapping[str, Any]) -> dict[str, Any]:
        attempts = read_attempts(manifest)
        return {"attempts": [asdict(each) for each in [*attempts[:-1], _ended(attempts[-1], ending)]]}

    if read_attempts(folder.read_manifest()):
        folder.change_manifest(ended)


def _ended(last: Attempt, ending: Ending) -> Attempt:
    failure = ending.failure
    return replace(
        last,
        ended=time.time(),
        reason=ending.reason,
        node=failure.node if failure else next(iter(ending.lost), None),
        rank=failure.rank if failure else None,
        exit_code=failure.exit_code if failure else None,
        lost=ending.lost,
        from_step=last.from_step if ending.progress.from_step is None else ending.progress.from_step,
        last_step=ending.progress.step if ending.progress.started else None,
    )


def note_anew(folder: RunFolder, progress: Progress, last_step: int, reason: Reason) -> Attempt | None:
    """Write down that torchrun replaced a lost rank, or that Slurm started the job again; the new attempt."""

    def begun(manifest: Mapping[str, Any]) -> dict[str, Any]:
        *before, last = read_attempts(manifest)
        now, number = time.time(), last.number + 1
        ended = replace(last, ended=now, reason=reason, last_step=last_step, from_step=last.from_step or 0)
        new = Attempt(number=number, started=now, nodes=last.nodes, from_step=progress.from_step, elastic=True)
        return {"attempts": opened_attempts([*before, ended], new)}

    if not read_attempts(folder.read_manifest()):
        return None
    return read_attempts(folder.change_manifest(begun))[-1]


def interrupted_restart(folder: RunFolder) -> bool:
    """Whether the last attempt has failed and whoever was starting the next one is gone."""
    manifest = folder.read_manifest()
    attempts = read_attempts(manifest)
    return State(manifest["state"]) is State.STAGING and bool(attempts) and attempts[-1].reason is not None


def started_alike(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a run, by two of its manifests, still runs where and as it did: it was not started again."""
    return all(before.get(key) == now.get(key) for key in ("job", "attempts"))


def assert_wanted(folder: RunFolder) -> None:
    """Raise Cancelled when somebody cancelled the run."""
    manifest = folder.read_manifest()
    if manifest.get("cancel_asked") or manifest["state"] == State.CANCELLED:
        raise Cancelled
