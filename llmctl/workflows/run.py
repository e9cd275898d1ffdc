"""The main job up to its start: recipe, connections, check, plan, staging, start."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl_engine.devices import DEVICES

from llmctl.checks.facts import Severity
from llmctl.errors import Interrupted, UsageError
from llmctl.launch.backends import BACKENDS
from llmctl.launch.staging import half_done
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import connect_all
from llmctl.remote.fanout import fan_out
from llmctl.remote.transport import Transport
from llmctl.run.acting import acting
from llmctl.run.attempts import Attempt, opened_attempts, read_attempts
from llmctl.run.folder import RunFolder
from llmctl.run.ids import new_run_id
from llmctl.run.index import runs_folder
from llmctl.run.states import ENDED, State
from llmctl.workflows import leases
from llmctl.workflows.attempting import Cancelled, assert_wanted
from llmctl.workflows.check import CheckResult
from llmctl.workflows.drift import assert_codes
from llmctl.workflows.follow import GRACE
from llmctl.workflows.live import Live, open_all, reached_here
from llmctl.workflows.manifest import first_manifest, login_of, note_state, read_job
from llmctl.workflows.render import Draft, draft, meeting_place
from llmctl.workflows.starting import Teller, bring_up, cargo_of, found_on, job_of, pass_gate, write_down

FINISHING = 75.0
"""Seconds in which whoever noted a run's end has told everybody of it."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a person asked for."""

    source: str
    sets: tuple[str, ...] = ()
    runs: Path | None = None
    allow_drift: tuple[str, ...] = ()
    collect: tuple[str, ...] = ()
    """What comes back besides logs and records: `weights`."""
    name: str | None = None
    """In place of the recipe's name in the run id."""
    resume: RunFolder | None = None
    """Continue this run; `source` is then its own recipe."""
    repeat: RunFolder | None = None
    """Make this run again, as a new one; `source` is then its own recipe."""


def begin(request: RunRequest, teller: Teller) -> Live:
    """Everything up to the start of the processes. Raises UsageError, ManyNodeErrors, BlockedError, Interrupted when
    somebody cancels it meanwhile; nothing of a new run is then left on launcher or nodes."""
    if request.resume is None:
        return _begin(request, teller)
    with _alone(request.resume, teller) as ours:
        return _begin(request, teller, ours=ours)


@contextmanager
def _alone(folder: RunFolder, teller: Teller) -> Iterator[bool]:
    """Act for a run that is continued: `attach` and `status` would take it for one that was given up. Whoever noted its
    end may still tell `launch.notify`, and is waited for; False when another acts on."""
    deadline, told = time.monotonic() + FINISHING, False
    while True:
        with acting(folder) as ours:
            if ours or folder.read_manifest()["state"] not in ENDED or time.monotonic() > deadline:
                yield ours
                return
        if not told:
            teller.step(f"waiting for another llmctl, which finishes {folder.run_id}")
            told = True
        time.sleep(1)


def _begin(request: RunRequest, teller: Teller, *, ours: bool = True) -> Live:
    assert_codes(request.allow_drift)
    planned = work_out(request)
    _ = planned.files  # the DeepSpeed lint, before any node is troubled
    recipe = planned.loaded.recipe
    if not DEVICES[recipe.cluster.device].engine:
        raise UsageError(
            f"the bundled engine cannot train on {recipe.cluster.device}",
            where="cluster.device",
            hint=f"llmctl render {request.source} shows the files; docs/devices.md says what runs where",
        )
    for remark in planned.remarks:
        teller.step(remark)
    teller.step(f"connecting to {', '.join(node.name for node in planned.nodes)}")
    login = login_of(recipe)
    transports = open_all(planned.nodes, login, local=reached_here(recipe.launch.backend, login))
    live: Live | None = None
    try:
        _tell_absent(planned.spares, login, teller)
        if request.resume is not None:
            _assert_over(request.resume, transports, ours=ours)
        with leases.held(planned.plan, transports, teller.step):
            checked = pass_gate(planned, transports, request.allow_drift, teller)
            planned = work_out(request, run_id=planned.plan.run_id, **found_on(planned, checked))
            if len(planned.nodes) > 1 and recipe.launch.backend != "slurm":
                teller.step(meeting_place(planned.plan))
            live = _live(request, planned, transports, login)
            try:
                _start(live, request, planned, checked, teller)
            except BaseException:
                begun, live = live, None
                _undo(begun, planned, request)
                raise
        return live
    except BaseException:
        if live is not None:
            _undo(live, planned, request)
        for transport in transports.values():
            transport.close()
        raise


def _tell_absent(spares: Sequence[Node], login: Mapping[str, Any], teller: Teller) -> None:
    """Say now which spares would not be there; a run can begin without them."""
    for outcome in connect_all(spares, user=login["user"], port=login["port"]):
        if outcome.value is not None:
            outcome.value.close()
        else:
            teller.step(f"the spare {outcome.error}")


def _assert_over(folder: RunFolder, transports: Mapping[str, Transport], *, ours: bool) -> None:
    """Raise UsageError when the run has succeeded, or when something of it still runs on a node: it is neither started
    twice nor ended here. `ours`: nobody else acts for it."""
    job, _, manifest = read_job(folder)
    if manifest["state"] == State.SUCCEEDED:
        raise UsageError(f"{folder.run_id} has SUCCEEDED, nothing is left to do", hint=f"llmctl report {folder.run_id}")
    backend = BACKENDS[manifest["backend"]]
    known = {node: transport for node, transport in transports.items() if node in job.nodes}
    told = [outcome.value for outcome in backend.status(job, known) if outcome.value]
    running = [report.node for report in told if report.state in (State.PENDING, State.RUNNING)]
    if running:
        raise UsageError(
            f"{folder.run_id} is still running on {', '.join(running)}",
            hint=f"llmctl logs {folder.run_id} -f, or llmctl cancel {folder.run_id}",
        )
    if not ours:
        raise UsageError(
            f"another llmctl acts for {folder.run_id}",
            why=f"the run is {manifest['state']}; it may be about to be started again",
            hint=f"llmctl attach {folder.run_id}, or llmctl cancel {folder.run_id}",
        )


def work_out(request: RunRequest, **found: Any) -> Draft:
    """The run that was asked for, on paper; `found` is what the nodes told, as for `draft`."""
    before = request.resume or request.repeat
    if before is None:
        if request.name is not None:
            found.setdefault("run_id", new_run_id(request.name))
        return draft(request.source, sets=request.sets, runs=request.runs, **found)
    _, nodes, manifest = read_job(before)
    if request.resume is not None:
        found["run_id"] = request.resume.run_id
    if not any(each.startswith("cluster.") for each in request.sets):
        found = {"nodes": nodes, **found}  # spares may have taken places among them
    return draft(
        before.recipe,
        sets=request.sets,
        runs=before.root.parent if request.resume is not None else request.runs,
        beside=Path(manifest["recipe"]["path"]),
        resume=request.resume is not None,
        **found,
    )


def _live(request: RunRequest, planned: Draft, transports: dict[str, Transport], login: Mapping[str, Any]) -> Live:
    backend = planned.loaded.recipe.launch.backend
    return Live(
        folder=request.resume or RunFolder(runs_folder(request.runs) / planned.plan.run_id),
        job=job_of(planned),
        backend=BACKENDS[backend],
        nodes=planned.nodes,
        transports=transports,
        login=login,
        local=reached_here(backend, login),
    )


def _start(live: Live, request: RunRequest, planned: Draft, checked: CheckResult, teller: Teller) -> None:
    folder, job = live.folder, live.job
    teller.step(f"staging {job.run_id}")
    allowed = [f for f in checked.findings if f.severity is Severity.ERROR]
    manifest = first_manifest(planned, job, sets=request.sets, allowed=allowed)
    manifest["collect"] = list(request.collect)
    before = folder.read_manifest() if request.resume is not None else {}
    if before:
        manifest["created"] = before["created"]
    attempts = read_attempts(before)
    note_state(folder, State.STAGING, **manifest, cancel_asked=None, notified=None)
    write_down(folder, planned, checked)
    if request.resume is not None:
        # What a lost supervisor or a first node left behind must not write beside the new processes.
        live.backend.cancel(job, live.transports, GRACE)
    bring_up(live, planned, teller, before=lambda: _assert_wanted(folder))
    _assert_wanted(folder)
    attempt = Attempt(
        number=len(attempts) + 1,
        started=time.time(),
        nodes=job.nodes,
        from_step=0 if request.resume is None else None,
    )
    note_state(folder, State.RUNNING, attempts=opened_attempts(attempts, attempt))


def _assert_wanted(folder: RunFolder) -> None:
    """Raise Interrupted when another llmctl was asked to cancel the run while it is being started."""
    try:
        assert_wanted(folder)
    except Cancelled:
        raise Interrupted(f"{folder.run_id} was cancelled", why="llmctl cancel, while it was being started") from None


def _undo(live: Live, planned: Draft, request: RunRequest) -> None:
    """End what was started; of a new run remove everything, here and on its nodes."""
    fan_out(live.job.nodes, live.reached)  # an interrupted staging has closed its connections
    live.backend.cancel(live.job, live.transports, GRACE)
    rest = half_done(live.job, cargo_of(planned))
    if request.resume is not None:
        note_state(live.folder, State.CANCELLED if live.folder.read_manifest().get("cancel_asked") else State.FAILED)
        rest.remove(live.job.run_dir)
    words = " ".join(map(sh_quote, rest))
    fan_out(list(live.transports), lambda name: live.transports[name].run(f"rm -rf -- {words}", timeout=120))
    if request.resume is None:
        shutil.rmtree(live.folder.root, ignore_errors=True)
