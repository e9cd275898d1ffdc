"""End a run that was started."""

from __future__ import annotations

import time
from pathlib import Path

from llmctl.errors import UsageError
from llmctl.remote.fanout import Outcome
from llmctl.run.folder import RunFolder
from llmctl.run.index import find_run, runs_folder
from llmctl.run.states import State
from llmctl.workflows import ending as concluding
from llmctl.workflows.follow import GRACE
from llmctl.workflows.leftover import end_leftover
from llmctl.workflows.live import opened
from llmctl.workflows.watching import Watcher


def cancel(given: str, *, runs: Path | None, watcher: Watcher) -> tuple[RunFolder, list[Outcome[str, int]]]:
    """End a run on all its nodes. Each outcome is how many processes were ended; a node that was not reached is an
    error, and the run then keeps its state. A run that was lost or failed may still have processes, as may nodes that
    it lost before it went on without them. Raises UsageError for a run that has ended otherwise."""
    folder = find_run(given, runs_folder(runs))
    manifest = folder.read_manifest()
    known = State(manifest["state"])
    if known in (State.SUCCEEDED, State.CANCELLED):
        if manifest.get("leftover"):
            return folder, end_leftover(folder)
        raise UsageError(f"{folder.run_id} has ended: {known}", hint="llmctl ps")
    folder.update_manifest(cancel_asked=time.time())  # whoever is starting it again stops
    with opened(folder) as (live, errors):
        unreached = [Outcome[str, int](node, error=error) for node, error in errors.items()]
        if unreached or known is State.FAILED:
            done = live.backend.cancel(live.job, live.transports, GRACE)
        else:
            done = concluding.cancel(live, watcher)
    return folder, [*done, *unreached, *end_leftover(folder)]
