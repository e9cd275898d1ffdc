"""The one who acts for a run: follows it to its end, and does what is to be done when something fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llmctl.errors import UsageError
from llmctl.launch.supervised import NodeReport
from llmctl.recipe.schema import PATIENCE
from llmctl.remote.fanout import fan_out
from llmctl.run.acting import acting, actor
from llmctl.run.attempts import Reason, read_attempts
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.run.states import State
from llmctl.workflows.attempting import Cancelled, interrupted_restart, note_anew, note_attempt
from llmctl.workflows.ending import conclude, noted_ending
from llmctl.workflows.follow import GRACE, Follower, Patience
from llmctl.workflows.leftover import end_leftover, note_leftover
from llmctl.workflows.live import Live, opened
from llmctl.workflows.pace import Pace
from llmctl.workflows.restarting import restart
from llmctl.workflows.watching import Ending, Watcher

ANEW = {Reason.RANK_KILLED: "torchrun replaced a lost rank", Reason.REQUEUED: "Slurm started it again"}


def keep(live: Live, watcher: Watcher, recent: Sequence[NodeReport] = (), *, unwatched: bool = False) -> Ending:
    """Follow a run to its end: stop all nodes at the first failure, start it again where the recipe says so, collect,
    note what came out. `recent` is what was told already; `unwatched`: nobody sees what is told here.

    Raises UsageError when another process acts for the run already. KeyboardInterrupt passes through."""
    with acting(live.folder) as ours:
        if not ours:
            raise UsageError(
                f"another llmctl acts for {live.folder.run_id}",
                why=f"process {actor(live.folder) or '?'} holds {live.folder.root}/keeper.lock",
                hint=f"llmctl logs {live.folder.run_id} -f",
            )
        ending = _act(live, watcher, recent, unwatched=unwatched)
        for outcome in end_leftover(live.folder):
            if outcome.error is not None:
                watcher.note(
                    f"{outcome.error}\nprocesses of the run may be left there: llmctl cancel {live.job.run_id}"
                )
        return ending


def _act(live: Live, watcher: Watcher, recent: Sequence[NodeReport], *, unwatched: bool) -> Ending:
    """Follow attempt after attempt, until one does not fail or no other follows."""

    def follow(recent: Sequence[NodeReport]) -> Ending:
        return _follow(live, watcher, recent, unwatched=unwatched)

    ending = _last_ending(live) if interrupted_restart(live.folder) else follow(recent)
    try:
        while ending.state in (State.FAILED, State.LOST) and not ending.why:
            why = restart(live, watcher)
            if why is not None:
                ending.why = why
                break
            ending = follow(())
    except Cancelled:
        fan_out(live.job.nodes, live.reached)  # a restart that was broken off has closed its connections
        ended = live.backend.cancel(live.job, live.transports, GRACE)
        told = {outcome.item for outcome in ended if outcome.error is None}
        away = tuple(node for node in live.job.nodes if node not in told)
        ending = Ending(state=State.CANCELLED, reports={}, progress=ending.progress, away=away)
    if ending.away and not live.local and not live.login.get("through"):  # Slurm ends what is left of its jobs
        note_leftover(live.folder, [node for node in live.nodes if node.name in ending.away])
    conclude(live, ending, watcher)
    return ending


def _follow(live: Live, watcher: Watcher, recent: Sequence[NodeReport], *, unwatched: bool) -> Ending:
    """Follow one attempt and write down how it ended."""
    manifest = live.folder.read_manifest()
    launch = manifest.get("launch", {})
    anew = Reason.RANK_KILLED if launch.get("elastic") else Reason.REQUEUED if manifest["backend"] == "slurm" else None
    patience = Patience(
        elastic=bool(launch.get("elastic")),
        anew=anew,
        stall=launch.get("stall", 0),
        end_stalled=bool(launch.get("retries")) and Reason.COLLECTIVE_TIMEOUT in launch.get("on", ()),
        alone=launch.get("patience", PATIENCE),
    )
    progress = Progress(total_steps=manifest.get("total_steps") or 0)

    def restarted(progress: Progress, last_step: int) -> None:
        if anew is None:
            return
        begun = note_anew(live.folder, progress, last_step, anew)
        if begun is not None:
            watcher.note(f"{ANEW[anew]}: {begun.line()}")

    follower = Follower(
        live,
        watcher,
        patience,
        progress=progress,
        restarted=restarted,
        pace=Pace(live.folder, patience.stall) if unwatched else None,
    )
    for report in recent:
        follower.know(report)
    ending = follower.run()
    note_attempt(live.folder, ending)
    return ending


def _last_ending(live: Live) -> Ending:
    """How the last attempt ended, as it was noted by whoever was starting the next one."""
    last = read_attempts(live.folder.read_manifest())[-1]
    state = State.LOST if last.lost else State.FAILED
    return Ending(state=state, reports={}, lost=last.lost, reason=last.reason)


def keep_alone(folder: RunFolder, watcher: Watcher) -> Ending | None:
    """Open a run's nodes and keep it, unless its end is noted; None when another process acts for it."""
    if actor(folder) is not None:
        return None
    if (ended := noted_ending(folder)) is not None:
        return ended
    with opened(folder) as (live, errors):
        for error in errors.values():
            watcher.note(str(error))
        return keep(live, watcher, unwatched=True)


def leave_keeper(folder: RunFolder) -> Path:
    """Start a process on this machine that keeps a run without anybody watching, and outlives the shell; gives the file
    of its output. It ends by itself with the run, or at once when another process acts for it."""
    log = folder.root / "keeper.log"
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        subprocess.Popen(
            [sys.executable, "-m", "llmctl", "keep", str(folder.root.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            cwd=folder.root,
            start_new_session=True,
            close_fds=True,
        )
    finally:
        os.close(handle)
    return log
