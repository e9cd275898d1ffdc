"""The one who acts for a run: follows it to its end, and does what is to be done when something fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llmctl.errors import UsageError
from llmctl.launch.supervised import NodeReport
from llmctl.run.acting import acting, actor
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.workflows.ending import conclude
from llmctl.workflows.follow import Ending, Follower, Watcher
from llmctl.workflows.live import Live, opened


def keep(live: Live, watcher: Watcher, recent: Sequence[NodeReport] = ()) -> Ending:
    """Follow a run to its end, stop all nodes at the first failure, collect, note what came out. `recent` is what was
    told already. Raises UsageError when another process acts for the run already. KeyboardInterrupt passes through."""
    with acting(live.folder) as ours:
        if not ours:
            raise UsageError(
                f"another llmctl acts for {live.folder.run_id}",
                why=f"process {actor(live.folder) or '?'} holds {live.folder.root}/keeper.lock",
                hint=f"llmctl logs {live.folder.run_id} -f",
            )
        progress = Progress(total_steps=live.folder.read_manifest().get("total_steps") or 0)
        follower = Follower(live, watcher, progress=progress)
        for report in recent:
            follower.know(report)
        ending = follower.run()
        conclude(live, ending, watcher)
        return ending


def keep_alone(folder: RunFolder, watcher: Watcher) -> Ending | None:
    """Open a run's nodes and keep it; None when another process acts for it."""
    if actor(folder) is not None:
        return None
    with opened(folder) as (live, errors):
        for error in errors.values():
            watcher.note(str(error))
        return keep(live, watcher)


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
