"""The end of a run: what its nodes hold is collected, what came out is written down."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from llmctl.launch.collect import collect
from llmctl.launch.failures import Failure
from llmctl.remote.fanout import Outcome
from llmctl.run.acting import actor
from llmctl.run.folder import RunFolder
from llmctl.run.prepared import trained_on
from llmctl.run.records import Progress
from llmctl.run.states import ENDED, State
from llmctl.workflows import leases
from llmctl.workflows.follow import GRACE
from llmctl.workflows.live import Live
from llmctl.workflows.manifest import note_state
from llmctl.workflows.mirror import progress_of
from llmctl.workflows.notifying import notify
from llmctl.workflows.watching import Ending, Watcher


def conclude(live: Live, ending: Ending, watcher: Watcher, *, heard: bool = False) -> None:
    """Collect what the nodes hold, and note the end in the manifest and the index. `heard`: somebody else tells
    `launch.notify` of it."""
    manifest = live.folder.read_manifest()
    if manifest.get("devices"):
        leases.release(live.job.run_id, live.job.python, live.transports)
    weights = "weights" in manifest.get("collect", ())
    for outcome in collect(live.job, live.folder, live.transports, weights=weights):
        if outcome.error:
            watcher.note(str(outcome.error))
        elif outcome.value and (told := outcome.value.told(outcome.item, live.job.run_dir)):
            watcher.note(told)
    reports = ending.reports.values()
    tokens = trained_on(live.folder.output)
    note_state(
        live.folder,
        ending.state,
        exit_codes={report.node: report.exit_code for report in reports if report.state is not None},
        ended=max((report.ended for report in reports if report.ended), default=None),
        failure=asdict(ending.failure) if ending.failure else None,
        lost=list(ending.lost),
        why=ending.why,
        last_step=ending.progress.step,
        last_loss=ending.progress.loss,
        total_steps=ending.progress.total_steps or manifest.get("total_steps"),
        **({"trained_on": tokens} if tokens else {}),
    )
    if not heard and _first_to_tell(live.folder):
        notify(live.folder, "ended", watcher)


def _first_to_tell(folder: RunFolder) -> bool:
    """Whether `launch.notify` has not heard of this end. A keeper that begins just when the run is cancelled finds the
    end told."""
    before: list[float | None] = []

    def change(old: dict[str, Any]) -> dict[str, Any]:
        before.append(old.get("notified"))
        return {"notified": before[0] or time.time()}

    folder.change_manifest(change)
    return before[0] is None


def noted_ending(folder: RunFolder) -> Ending | None:
    """How a run ended, as it was noted; None while it has not."""
    manifest = folder.read_manifest()
    if State(manifest["state"]) not in ENDED:
        return None
    failure = manifest.get("failure")
    return Ending(
        state=State(manifest["state"]),
        reports={},
        failure=Failure(**(failure | {"tail": tuple(failure["tail"])})) if failure else None,
        lost=tuple(manifest.get("lost", ())),
        why=manifest.get("why", ""),
        progress=Progress(
            total_steps=manifest.get("total_steps") or 0,
            step=manifest.get("last_step") or 0,
            loss=manifest.get("last_loss"),
            ended=True,
        ),
    )


def cancel(live: Live, watcher: Watcher) -> list[Outcome[str, int]]:
    """End the run's processes on all nodes, collect, note it. Each outcome is how many processes were ended."""
    acted_for = actor(live.folder) is not None  # who acts sees it too, and notifies
    outcomes = live.backend.cancel(live.job, live.transports, GRACE)
    if not any(outcome.error for outcome in outcomes):
        reports = {o.value.node: o.value for o in live.backend.status(live.job, live.transports) if o.value}
        ending = Ending(state=State.CANCELLED, reports=reports, progress=progress_of(live, list(reports.values())))
        conclude(live, ending, watcher, heard=acted_for)
    return outcomes
