"""The main job: recipe, connections, check, plan, staging, start, following, collection."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from llmctl_engine.devices import DEVICES

from llmctl.checks.addresses import choose_addresses, choose_interfaces, free_port, known
from llmctl.checks.facts import Finding, Severity
from llmctl.errors import BlockedError, LlmctlError, ManyNodeErrors, UsageError
from llmctl.launch.backends import BACKENDS
from llmctl.launch.staging import Cargo, stage
from llmctl.launch.supervised import Job
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.transport import Transport
from llmctl.render.files import shell_of
from llmctl.run.folder import RunFolder, write_json
from llmctl.run.states import State
from llmctl.workflows.check import CheckResult, check_nodes, question_of
from llmctl.workflows.follow import GRACE
from llmctl.workflows.live import Live, open_all
from llmctl.workflows.manifest import first_manifest, note_state, read_job
from llmctl.workflows.render import Draft, draft, meeting_place, runs_folder


class Teller(Protocol):
    """Who is told how the start goes on."""

    def step(self, text: str) -> None:
        """A new part of the work begins."""

    def findings(self, findings: Sequence[Finding]) -> None:
        """What the check found, blocking or not."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a person asked for."""

    source: str
    sets: tuple[str, ...] = ()
    runs: Path | None = None
    allow_drift: tuple[str, ...] = ()
    collect: tuple[str, ...] = ()
    """What comes back besides logs and records: `weights`."""
    resume: RunFolder | None = None
    """Continue this run; `source` is then its own recipe."""


def begin(request: RunRequest, teller: Teller) -> Live:
    """Everything up to the start of the processes. Raises UsageError, ManyNodeErrors, BlockedError; nothing of a new
    run is then left on launcher or nodes."""
    planned = work_out(request)
    _ = planned.files  # the DeepSpeed lint, before any node is troubled
    recipe = planned.loaded.recipe
    if not DEVICES[recipe.cluster.device].engine:
        raise UsageError(
            f"the bundled engine cannot train on {recipe.cluster.device}",
            where="cluster.device",
            hint=f"llmctl render {request.source} shows the files; docs/devices.md says what runs where",
        )
    teller.step(f"connecting to {', '.join(node.name for node in planned.nodes)}")
    login = {"user": recipe.cluster.user, "port": recipe.cluster.port}
    transports = open_all(planned.nodes, login, local=recipe.launch.backend == "local")
    try:
        if request.resume is not None:
            _assert_over(request.resume, transports)
        checked = _check(planned, transports, request.allow_drift, teller)
        values = known(checked.facts)
        planned = work_out(
            request,
            run_id=planned.plan.run_id,
            addresses=choose_addresses(values, planned.nodes),
            interfaces=choose_interfaces(values, planned.nodes),
            master_port=free_port(values, planned.nodes[0].name),
        )
        if len(planned.nodes) > 1:
            teller.step(meeting_place(planned.plan))
        return _start(request, planned, checked, transports, login, teller)
    except BaseException:
        for transport in transports.values():
            transport.close()
        raise


def _assert_over(folder: RunFolder, transports: Mapping[str, Transport]) -> None:
    """Raise UsageError when the run has succeeded, or when something of it still runs on a node: it is neither started
    twice nor ended here."""
    job, _, manifest = read_job(folder)
    if manifest["state"] == State.SUCCEEDED:
        raise UsageError(f"{folder.run_id} has SUCCEEDED, nothing is left to do", hint=f"llmctl report {folder.run_id}")
    backend = BACKENDS[manifest["backend"]]
    known = {node: transport for node, transport in transports.items() if node in job.nodes}
    told = [outcome.value for outcome in backend.status(job, known) if outcome.value]
    running = [report.node for report in told if report.state is State.RUNNING]
    if running:
        raise UsageError(
            f"{folder.run_id} is still running on {', '.join(running)}",
            hint=f"llmctl logs {folder.run_id} -f, or llmctl cancel {folder.run_id}",
        )


def work_out(request: RunRequest, **found: Any) -> Draft:
    """The run that was asked for, on paper; `found` is what the nodes told, as for `draft`."""
    if request.resume is None:
        return draft(request.source, sets=request.sets, runs=request.runs, **found)
    manifest = request.resume.read_manifest()
    found["run_id"] = request.resume.run_id
    return draft(
        request.resume.recipe,
        sets=request.sets,
        runs=request.resume.root.parent,
        beside=Path(manifest["recipe"]["path"]),
        resume=True,
        **found,
    )


def _check(planned: Draft, transports: Mapping[str, Transport], allowed: Sequence[str], teller: Teller) -> CheckResult:
    teller.step("checking the nodes")
    checked = check_nodes(planned.nodes, transports, question_of(planned), recipe=planned.loaded.recipe)
    if checked.interrupted:
        raise KeyboardInterrupt
    if checked.errors:
        raise ManyNodeErrors(list(checked.errors.values()), what="the check could not be made on all nodes")
    teller.findings(checked.findings)
    blocking = [
        finding for finding in checked.findings if finding.severity is Severity.ERROR and finding.code not in allowed
    ]
    if blocking:
        codes = list(dict.fromkeys(finding.code for finding in blocking))
        raise BlockedError(
            f"{len(blocking)} {'finding blocks' if len(blocking) == 1 else 'findings block'} the start",
            why=", ".join(codes),
            hint="mend the nodes, or go on all the same with " + " ".join(f"--allow-drift {code}" for code in codes),
        )
    return checked


def _start(
    request: RunRequest,
    planned: Draft,
    checked: CheckResult,
    transports: dict[str, Transport],
    login: Mapping[str, Any],
    teller: Teller,
) -> Live:
    plan, recipe = planned.plan, planned.loaded.recipe
    folder = request.resume or RunFolder(runs_folder(request.runs) / plan.run_id)
    names = tuple(node.name for node in planned.nodes)
    shell = shell_of(plan.recipe)
    job = Job(run_id=plan.run_id, run_dir=plan.paths.run_dir, nodes=names, python=plan.python, shell=shell)
    backend = BACKENDS[recipe.launch.backend]
    live = Live(
        folder=folder,
        job=job,
        backend=backend,
        nodes=planned.nodes,
        transports=transports,
        login=login,
        local=recipe.launch.backend == "local",
    )
    try:
        teller.step(f"staging {plan.run_id}")
        allowed = [f for f in checked.findings if f.severity is Severity.ERROR]
        manifest = first_manifest(planned, job, sets=request.sets, allowed=allowed)
        manifest["collect"] = list(request.collect)
        if request.resume is not None:
            manifest["created"] = folder.read_manifest()["created"]
        note_state(folder, State.STAGING, **manifest)
        for name in names:
            facts = [asdict(fact) for fact in checked.facts if fact.node == name]
            write_json(folder.facts(name), facts)
        for path, text in planned.files.items():
            _write_private(folder.root / path, text)
        if request.resume is not None:
            # What a lost supervisor or a first node left behind must not write beside the new processes.
            backend.cancel(job, transports, GRACE)
        staged = stage(job, _cargo(planned), transports, lambda node, what: teller.step(f"{node}: copying {what}"))
        _raise(staged)
        for outcome in staged:
            teller.step(f"{outcome.item}: {outcome.value}")
        teller.step(f"starting {plan.world_size} processes")
        _raise(backend.submit(job, transports))
    except BaseException:
        backend.cancel(job, transports, GRACE)
        if request.resume is None:
            _forget(live)
        else:
            note_state(folder, State.FAILED)
        raise
    note_state(folder, State.RUNNING)
    return live


def _write_private(path: Path, text: str) -> None:
    """Rendered files hold `cluster.env`, which may hold tokens."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _cargo(planned: Draft) -> Cargo:
    paths, trees = planned.plan.paths, planned.inputs.staged
    places = {
        "engine": paths.engine_dir,
        "data": paths.data_dir,
        "model": paths.model_path,
        "adapter": paths.adapter_path,
    }
    return Cargo(files=planned.files, trees={str(places[kind]): tree for kind, tree in trees.items()})


def _raise(outcomes: Sequence[Outcome[Any, Any]]) -> None:
    errors: list[LlmctlError] = [outcome.error for outcome in outcomes if outcome.error]
    if errors:
        raise ManyNodeErrors(errors, what=f"{len(errors)} of {len(outcomes)} nodes failed; nothing was started")


def _forget(live: Live) -> None:
    """Remove a run that never started, here and on its nodes."""
    fan_out(
        list(live.transports),
        lambda name: live.transports[name].run(f"rm -rf {sh_quote(live.job.run_dir)}", timeout=120),
    )
    shutil.rmtree(live.folder.root, ignore_errors=True)
