"""Watch a run on all its nodes until it ends, or the watcher leaves; the first failure stops every node."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from llmctl.launch.backends import Backend
from llmctl.launch.failures import Failure, first_failure
from llmctl.launch.supervised import Job, NodeReport
from llmctl.remote.fanout import fan_out
from llmctl.remote.transport import Transport
from llmctl.run.records import Progress
from llmctl.run.states import ENDED, State

INTERVAL = 1.0
LOST_AFTER = 30.0
"""Seconds without an answer after which a node counts as lost."""
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL when a run is stopped."""
SETTLE = 3.0
"""Seconds in which the node that failed first may still tell so, once the first sign of a failure is there."""
RECORDS = "output/steps.jsonl"
KEPT = 64 * 1024
"""Characters of each log kept to tell a failure from."""


class Watcher(Protocol):
    """Who is told what happens."""

    def lines(self, label: str, text: str) -> None:
        """New whole lines of one log; `label` names node and rank."""

    def progress(self, progress: Progress) -> None:
        """A step was made."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""


@dataclass
class Ending:
    """How a run ended."""

    state: State
    reports: dict[str, NodeReport]
    failure: Failure | None = None
    lost: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress)


Reconnect = Callable[[str], Transport]


@dataclass
class Follower:
    """Everything that following needs to remember between two rounds."""

    job: Job
    backend: Backend
    transports: dict[str, Transport]
    reconnect: Reconnect
    watcher: Watcher
    offsets: dict[str, dict[str, int]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    reports: dict[str, NodeReport] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    sign: float | None = None
    """When the first sign of a failure was seen."""

    def run(self) -> Ending:
        """Follow to the end. KeyboardInterrupt passes through: whoever catches it detaches or cancels."""
        self.answered = dict.fromkeys(self.job.nodes, time.monotonic())
        while True:
            started = time.monotonic()
            self.round()
            ending = self.ending()
            if ending is not None:
                return ending
            time.sleep(max(0.0, INTERVAL - (time.monotonic() - started)))

    def round(self) -> None:
        """Ask every node once."""
        for outcome in fan_out(self.job.nodes, self._ask):
            node = outcome.item
            if outcome.value is None:
                self._unanswered(node)
                continue
            self.answered[node] = time.monotonic()
            self._take(outcome.value)

    def ending(self) -> Ending | None:
        """Whether it is over, seen from the last round; stops the other nodes after a failure."""
        now = time.monotonic()
        lost = tuple(node for node, last in self.answered.items() if now - last > LOST_AFTER)
        starters = self.backend.starters(self.job)
        states = [self.reports[node].state for node in starters if node in self.reports]
        if lost:
            self.watcher.note(f"no answer from {', '.join(lost)} for {LOST_AFTER:.0f} s; stopping the others")
            self.stop(spare=lost)
            return self._end(State.LOST, lost=lost)
        if len(states) == len(starters) and all(state is State.SUCCEEDED for state in states):
            return self._end(State.SUCCEEDED)
        if any(state is State.CANCELLED for state in states):
            self.stop()
            return self._end(State.CANCELLED)
        if State.LOST in states:
            self.stop()
            return self._end(State.LOST, lost=tuple(n for n in starters if self.reports[n].state is State.LOST))
        errors = [error for report in self.reports.values() for error in report.errors]
        # A rank that was asked to stop did so; whether that was a cancel, its supervisor tells.
        failed = State.FAILED in states or any(error.get("type") != "Stopped" for error in errors)
        if self.sign is None and (failed or self._told_elsewhere()):
            self.sign = now
        if self.sign is not None and (now - self.sign > SETTLE or all(state in ENDED for state in states)):
            self.watcher.note("a failure; stopping every node")
            self.stop()
            return self._end(State.FAILED)
        return None

    def stop(self, spare: tuple[str, ...] = ()) -> None:
        """End the run's processes on all nodes but `spare`; then hear once more what they have to tell."""
        away = [node for node in self.job.nodes if node not in self.transports and node not in spare]
        for found in fan_out(away, self.reconnect):
            if found.value is not None:
                self.transports[found.item] = found.value
            else:
                self.watcher.note(f"{found.error}\nit was not told to stop: llmctl cancel {self.job.run_id}")
        reachable = {node: each for node, each in self.transports.items() if node not in spare}
        for ended in self.backend.cancel(self.job, reachable, GRACE):
            if ended.error:
                self.watcher.note(str(ended.error))
        for outcome in fan_out([n for n in self.job.nodes if n in reachable], self._ask):
            if outcome.value is not None:
                self._take(outcome.value)

    def _end(self, state: State, lost: tuple[str, ...] = ()) -> Ending:
        failure = first_failure(self.reports, self.logs) if state in (State.FAILED, State.LOST) else None
        return Ending(state=state, reports=self.reports, failure=failure, lost=lost, progress=self.progress)

    def _ask(self, node: str) -> NodeReport:
        if node not in self.transports:
            self.transports[node] = self.reconnect(node)
        return self.backend.logs(self.job, self.transports[node], self.offsets.get(node, {}))

    def _unanswered(self, node: str) -> None:
        transport = self.transports.pop(node, None)
        if transport is not None:
            self.watcher.note(f"{node} does not answer; trying again for {LOST_AFTER:.0f} s")
            transport.close()

    def know(self, report: NodeReport) -> None:
        """Take in what a node tells, without telling it."""
        first = self.reports.get(report.node)
        keep_state = first is not None and first.state in (State.FAILED, State.SUCCEEDED, State.LOST)
        self.reports[report.node] = _keep_end(report, first) if keep_state and first else report
        self.offsets.setdefault(report.node, {}).update(report.offsets)
        for name, text in report.texts.items():
            if name == RECORDS:
                if report.node == self.job.nodes[0]:  # on a shared file system every node sees the same records
                    self.progress.feed(text)
            else:
                self.logs[name] = (self.logs.get(name, "") + text)[-KEPT:]

    def _take(self, report: NodeReport) -> None:
        self.know(report)
        for name, text in report.texts.items():
            if name != RECORDS:
                self.watcher.lines(label_of(name), text)
            elif report.node == self.job.nodes[0]:
                self.watcher.progress(self.progress)

    def _told_elsewhere(self) -> bool:
        tails = (self.logs.get(f"logs/{node}/launcher.log", "") for node in self.job.nodes)
        return any(self.backend.failure_in(line) for tail in tails for line in tail.splitlines())


def _keep_end(report: NodeReport, first: NodeReport) -> NodeReport:
    """What a node said of its end before it was stopped stays true afterwards."""
    return replace(report, state=first.state, exit_code=first.exit_code, ended=first.ended)


def label_of(name: str) -> str:
    """`logs/node1/rank3.log` -> `node1 rank3`; the launcher's own log -> `node1`."""
    _, node, file = name.split("/", 2)
    stem = file.removesuffix(".log")
    return node if stem == "launcher" else f"{node} {stem}"


def state_of(reports: Mapping[str, NodeReport]) -> State:
    """One state for a whole run, from what its nodes say."""
    states = {report.state for report in reports.values() if report.state is not None}
    for state in (State.FAILED, State.CANCELLED, State.LOST, State.RUNNING):
        if state in states:
            return state
    return State.SUCCEEDED if states else State.LOST
