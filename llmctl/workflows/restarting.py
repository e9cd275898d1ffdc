"""From an attempt that failed to the next one: where, from which checkpoint, and with what of the last one ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llmctl.checks.facts import Finding, Severity
from llmctl.errors import LlmctlError, ManyNodeErrors, NodeError
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.transport import Transport
from llmctl.run.attempts import Attempt, Policy, Reason, decide, opened_attempts, read_attempts
from llmctl.run.states import State
from llmctl.workflows import leases
from llmctl.workflows.attempting import assert_wanted
from llmctl.workflows.follow import GRACE
from llmctl.workflows.leftover import note_leftover
from llmctl.workflows.live import Live
from llmctl.workflows.manifest import note_state
from llmctl.workflows.render import Draft
from llmctl.workflows.restoring import Restoring, Unrecoverable
from llmctl.workflows.run import RunRequest, work_out
from llmctl.workflows.starting import bring_up, found_on, job_of, pass_gate, raise_errors, write_down
from llmctl.workflows.watching import Watcher

RETURN = 600.0
"""Seconds in which a lost node has to answer again, when no spare takes its place."""
PAUSE = 2.0
"""Seconds between two tries to reach it, and to start again after a connection broke."""
TRIES = 4
"""How often a start is tried while nodes that are needed break it off."""


@dataclass(frozen=True)
class Noting:
    """Tells a watcher how a start goes on."""

    watcher: Watcher

    def step(self, text: str) -> None:
        """A new part of the work begins."""
        self.watcher.note(text)

    def findings(self, findings: Sequence[Finding]) -> None:
        """Tell what is wrong; what might be was told at the first start."""
        for finding in findings:
            if finding.severity is Severity.ERROR:
                self.watcher.note(f"{finding.code}: {finding.title}")


def restart(live: Live, watcher: Watcher) -> str | None:
    """Start a run again after its last attempt, as the manifest has it; None when it is started, else why it is not.
    Raises Cancelled."""
    manifest = live.folder.read_manifest()
    attempts = read_attempts(manifest)
    if not attempts:
        return ""
    assert_wanted(live.folder)
    launch = manifest.get("launch", {})
    policy = Policy(retries=launch.get("retries", 0), on=tuple(Reason(word) for word in launch.get("on", ())))
    known = _known_nodes(manifest)
    unusable: set[str] = set()
    tries = 0
    while True:
        decision = decide(attempts, policy, [name for name in known if name not in unusable])
        if decision.nodes is None:
            return decision.why
        watcher.note(decision.why)
        assert_wanted(live.folder)
        note_state(live.folder, State.STAGING, notified=None)
        try:
            Restart(live, watcher, attempts, known, decision.nodes).go(decision.awaited)
            return None
        except LlmctlError as error:
            watcher.note(str(error))
            tries += 1
            fresh = set(decision.nodes) - set(attempts[-1].nodes)
            final = isinstance(error, Unrecoverable)
            if fresh and not final and (_places(error) & fresh or not isinstance(error, NodeError)):
                unusable |= _places(error) & fresh or fresh
            elif isinstance(error, NodeError) and not final and tries < TRIES:
                time.sleep(PAUSE)
            else:
                return error.what + (f": {error.why}" if error.why else "")


def _places(error: LlmctlError) -> set[str]:
    """The nodes that an error is about."""
    errors = error.errors if isinstance(error, ManyNodeErrors) else [error]
    return {each.where.partition(":")[0] for each in errors}


def _known_nodes(manifest: Mapping[str, Any]) -> dict[str, Node]:
    """All nodes that have a part in a run, in the order in which they may stand in: spares, lost ones, those of now."""
    told = [*manifest.get("spares", ()), *manifest.get("leftover", ()), *manifest["nodes"]]
    return {node["name"]: Node(**node) for node in told}


@dataclass
class Restart:
    """One try to start the next attempt on the nodes `names`, in the order of the ranks."""

    live: Live
    watcher: Watcher
    attempts: list[Attempt]
    known: Mapping[str, Node]
    names: tuple[str, ...]

    def go(self, awaited: Sequence[str]) -> None:
        """Raises LlmctlError when it does not come about; nothing of it is then left running, and the run is on paper
        where it was."""
        live, before = self.live, (self.live.job, self.live.nodes)
        live.nodes = tuple(self.known.values())
        for name in list(live.transports):
            live.drop(name)  # whoever still asks over the old connection ends it when no answer comes
        try:
            for name in awaited:
                self._await(name)
            self._start()
        except BaseException:
            live.job, live.nodes = before
            here = [asdict(node) for node in live.nodes]
            leftover = [told for told in live.folder.read_manifest().get("leftover", ()) if told not in here]
            live.folder.update_manifest(job=asdict(live.job), nodes=here, leftover=leftover)
            raise
        for name in [name for name in live.transports if name not in self.names]:
            leases.release(live.job.run_id, live.job.python, {name: live.transports[name]})
            live.drop(name)

    def _start(self) -> None:
        live, names, last = self.live, self.names, self.attempts[-1]
        old = replace(live.job, nodes=last.nodes)
        raise_errors(self._reach(names))
        self._reach([name for name in last.nodes if name not in {*names, *last.lost}])
        self._end_remains(old)
        slots = [self.known[name].slots for name in last.nodes]
        nodes = tuple(replace(self.known[name], slots=count) for name, count in zip(names, slots, strict=True))
        request = RunRequest(source="", resume=live.folder)
        planned = work_out(request, nodes=nodes)
        restoring = Restoring(live, self.watcher, last.nodes, names)
        restoring.find(old, save_steps=planned.loaded.recipe.train.save_steps, reached=last.last_step or 0)
        transports = {name: live.transports[name] for name in names}
        with leases.held(planned.plan, transports, self.watcher.note):
            self._launch(request, planned, restoring, transports)

    def _launch(
        self, request: RunRequest, planned: Draft, restoring: Restoring, transports: Mapping[str, Transport]
    ) -> None:
        """The gate, staging, the start."""
        live, names, nodes = self.live, self.names, planned.nodes
        allowed = [told["code"] for told in live.folder.read_manifest().get("allowed_findings", ())]
        checked = pass_gate(planned, transports, allowed, Noting(self.watcher))
        planned = work_out(request, nodes=nodes, **found_on(planned, checked))
        write_down(live.folder, planned, checked)
        live.job = job_of(planned)
        self._note_nodes(planned, nodes)
        try:
            bring_up(live, planned, Noting(self.watcher), before=lambda: self._before_start(restoring))
            assert_wanted(live.folder)
        except BaseException:
            live.backend.cancel(live.job, transports, GRACE)
            raise
        live.nodes = nodes
        attempt = Attempt(
            number=self.attempts[-1].number + 1,
            started=time.time(),
            nodes=names,
            from_step=restoring.restore.step if restoring.restore else 0,
            automatic=True,
        )
        note_state(live.folder, State.RUNNING, attempts=opened_attempts(self.attempts, attempt))
        self.watcher.note(attempt.line())

    def _await(self, name: str) -> None:
        """Wait until a lost node answers again. Raises NodeError when it does not."""
        deadline, told = time.monotonic() + RETURN, False
        while True:
            (outcome,) = self._reach([name])
            if outcome.error is None:
                return
            if time.monotonic() > deadline:
                raise Unrecoverable(
                    f"did not come back within {RETURN:.0f} s",
                    where=name,
                    why=outcome.error.what,
                    hint=f"llmctl check {name}; then llmctl run --resume {self.live.folder.run_id}",
                )
            if not told:
                self.watcher.note(f"waiting for {name} to come back, {RETURN / 60:.0f} min at most")
                told = True
            assert_wanted(self.live.folder)
            time.sleep(PAUSE)

    def _reach(self, names: Sequence[str]) -> list[Outcome[str, None]]:
        """Make sure of the connections to nodes: what looks open may be of before a reboot."""

        def one(name: str) -> None:
            try:
                self.live.reached(name).run("true", timeout=10)
            except NodeError:
                self.live.drop(name)
                self.live.reached(name).run("true", timeout=10)

        return fan_out(names, one)

    def _end_remains(self, old: Job) -> None:
        """End what is left of the last attempt on the nodes that can be reached."""
        near = {name: self.live.transports[name] for name in old.nodes if name in self.live.transports}
        for outcome in self.live.backend.cancel(old, near, GRACE):
            if outcome.error is not None:
                self.watcher.note(str(outcome.error))

    def _note_nodes(self, planned: Draft, nodes: Sequence[Node]) -> None:
        """Write down where it runs now, so that a cancel finds it, and where processes may still be."""
        folder = self.live.folder
        note_leftover(folder, [self.known[name] for name in self.attempts[-1].nodes if name not in self.names])
        leftover = [told for told in folder.read_manifest()["leftover"] if told["name"] not in self.names]
        note_state(
            folder,
            State.STAGING,
            nodes=[asdict(node) for node in nodes],
            job=asdict(self.live.job),
            leftover=leftover,
            commands=[asdict(command) for command in planned.commands],
            output=f"{nodes[0].name}:{planned.plan.paths.run_dir}/output",
        )

    def _before_start(self, restoring: Restoring) -> None:
        """On nodes that are staged: end what an earlier attempt left there, bring checkpoint and records."""
        live = self.live
        raise_errors(live.backend.cancel(live.job, {name: live.transports[name] for name in self.names}, GRACE))
        restoring.bring()
