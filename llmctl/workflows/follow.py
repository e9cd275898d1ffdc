"""Watch a run on all its nodes until it ends, or the watcher leaves; the first failure stops every node."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial

from llmctl.errors import LlmctlError, Unanswered, UsageError
from llmctl.launch.failures import ECHO, Failure, cause, first_failure, reason_of
from llmctl.launch.supervised import NodeReport
from llmctl.remote.fanout import fan_out
from llmctl.run.attempts import Reason
from llmctl.run.records import Progress
from llmctl.run.states import ENDED, State
from llmctl.workflows.live import Live
from llmctl.workflows.memory import Memory
from llmctl.workflows.mirror import RECORDS, Mirror
from llmctl.workflows.notifying import notify_aside
from llmctl.workflows.pace import UNWATCHED, Pace
from llmctl.workflows.polling import INTERVAL, Answer, Polling, interval_of
from llmctl.workflows.silence import LONGEST_ROUND, LOST_AFTER, Silence
from llmctl.workflows.watching import Ending, Watcher, label_of

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL when a run is stopped."""
SETTLE = 3.0
"""Seconds in which the node that failed first may still tell so, once the first sign of a failure is there."""
QUIET = 4.0
"""Seconds without an answer after which a node counts as silent, besides the interval between two questions."""
KEPT = 64 * 1024
"""Characters of each log kept to tell a failure from."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How a run is judged, from its recipe."""

    elastic: bool = False
    """Torchrun replaces lost ranks by itself: only the end of its launcher is a failure."""
    anew: Reason | None = None
    """Why training begins anew where another than llmctl sees to that; None where nobody does."""
    stall: float = 0
    """Seconds without a step after which a run hangs; 0: never."""
    end_stalled: bool = False
    """A run that hangs is ended, to be started again."""
    alone: float = float("inf")
    """Seconds for which no node at all may answer."""


@dataclass
class Follower:
    """Everything that following needs to remember between two looks."""

    live: Live
    watcher: Watcher
    patience: Patience = Patience()
    logs: dict[str, str] = field(default_factory=dict)
    unstopped: dict[str, str] = field(default_factory=dict)
    """`logs` as they were before the run was stopped, which breaks connections too."""
    reports: dict[str, NodeReport] = field(default_factory=dict)
    offsets: dict[str, dict[str, int]] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    silence: Silence = field(default_factory=Silence)
    errors: dict[str, LlmctlError] = field(default_factory=dict)
    """Why a node gave no answer when it was asked last."""
    heard: dict[str, float] = field(default_factory=dict)
    """When each node answered last."""
    faint: set[str] = field(default_factory=set)
    """Nodes that answer while their supervisor gives no sign of life."""
    sign: float | None = None
    """When the first sign of a failure was seen."""
    restarted: Callable[[Progress, int], None] = lambda _progress, _last: None
    """Told when training began anew within the attempt: where it stands, and the last step before."""
    idle: float = 0.0
    """Seconds since the last step in which the first node answered."""
    pace: Pace | None = None
    """For one who acts while nobody sees what it tells."""

    def __post_init__(self) -> None:
        self.mirror = Mirror(self.live)
        self.memory = Memory(self.live.folder)
        self.pause = 0.0
        self.unwritten = False

    def run(self) -> Ending:
        """Follow to the end. KeyboardInterrupt passes through: whoever catches it detaches or cancels."""
        last = time.monotonic()
        self.heard = dict.fromkeys(self.live.job.nodes, last)
        with Polling(self.live, self.offsets, pause=lambda: self.pause) as polling:
            while True:
                starts, step = self.progress.starts, self.progress.step
                for answer in polling.take(INTERVAL):
                    self.take(answer)
                now = time.monotonic()
                stepped = (starts, step) != (self.progress.starts, self.progress.step)
                self._judge_silence(now, now - last, stepped=stepped)
                if self.patience.anew and 0 < starts < self.progress.starts:
                    self.restarted(self.progress, step)
                last = now
                state = self.seen(now)
                if state is not None:
                    break
                self._here(self.memory.keep)
                self._set_pace()
        ending = self._ended(state)
        self._here(lambda: self.memory.keep(now=True))
        return ending

    def _here(self, write: Callable[[], None]) -> None:
        """Write on this machine what the run can do without; that it cannot be written is told once."""
        try:
            write()
        except OSError as error:
            if not self.unwritten:
                self.watcher.note(f"what the nodes tell cannot be kept in {self.live.folder.root}: {error}")
            self.unwritten = True

    def _set_pace(self) -> None:
        if self.pace is None:
            return
        if self.sign is not None or self.errors or self.silence.seconds or not self.progress.started:
            self.pace.happened()
        self.pause = self.pace.pause()

    def _assert_there(self) -> None:
        """Raise UsageError when the run is no more: nobody can say what became of it, and nobody will ask."""
        if not self.live.folder.manifest.exists():
            raise UsageError("the run folder is gone", where=str(self.live.folder.root), hint="llmctl ps")

    def know(self, report: NodeReport) -> None:
        """Take in what a node tells, without telling it."""
        first = self.reports.get(report.node)
        keep_state = first is not None and first.state in (State.FAILED, State.SUCCEEDED, State.LOST)
        self.reports[report.node] = _keep_end(report, first) if keep_state and first else report
        self.offsets.setdefault(report.node, {}).update(report.offsets)
        own: Progress | None = None
        for name, text in report.texts.items():
            if name == RECORDS:
                if report.node == self.live.job.nodes[0]:  # on a shared file system every node sees the same records
                    self.progress.feed(text)
                    self._here(partial(self.mirror.take, text, report.offsets[name]))
                    own = self.progress
            else:
                self.logs[name] = (self.logs.get(name, "") + text)[-KEPT:]
        self.memory.take(self.reports[report.node], own)

    def take(self, answer: Answer) -> None:
        """Take in and tell what a node answered."""
        node = answer.item
        if answer.value is None:
            if answer.error is not None:
                self.errors[node] = answer.error
            return
        self.errors.pop(node, None)
        self.heard[node] = time.monotonic()
        self._note_heartbeat(answer.value)
        if answer.value.trouble and not (node in self.reports and self.reports[node].trouble):
            self.watcher.note(f"{node}: {answer.value.trouble}")
        self.know(answer.value)
        for name, text in answer.value.texts.items():
            if name != RECORDS:
                self.watcher.lines(label_of(name), text)
            elif node == self.live.job.nodes[0]:
                self.watcher.progress(self.progress)

    def _note_heartbeat(self, report: NodeReport) -> None:
        """A node answers, but its supervisor does not: told once, since the end of its ranks may go unseen."""
        age = report.clock - (report.heartbeat or report.clock)
        if report.state is not State.RUNNING or age < LOST_AFTER:
            self.faint.discard(report.node)
        elif report.node not in self.faint:
            self.faint.add(report.node)
            self.watcher.note(f"{report.node}: its supervisor gave no sign of life for {age:.0f} s")

    def stop(self, spare: Collection[str] = ()) -> tuple[str, ...]:
        """End the run's processes on all nodes but `spare`; then hear once more what they have to tell. Gives the nodes
        that could not be told."""
        job, transports = self.live.job, self.live.transports
        away = [node for node in job.nodes if node not in transports and node not in spare]
        untold = []
        for found in fan_out(away, self.live.reconnect):
            if found.value is not None:
                transports[found.item] = found.value
            elif found.error is not None:
                untold.append(found.item)
                self.errors[found.item] = found.error
        reachable = {node: each for node, each in list(transports.items()) if node not in spare}
        for ended in self.live.backend.cancel(job, reachable, GRACE):
            if ended.error:
                untold.append(ended.item)
                self.watcher.note(str(ended.error))
        asked = [node for node in job.nodes if node in reachable and node not in untold]
        offsets = self.offsets
        for outcome in fan_out(asked, lambda node: self.live.backend.logs(job, reachable[node], offsets.get(node, {}))):
            self.take(outcome)
        return tuple(untold)

    def _judge_silence(self, now: float, took: float, *, stepped: bool) -> None:
        nodes = self.live.job.nodes
        quiet = QUIET + max(interval_of(len(nodes)), UNWATCHED if self.pace else 0.0)
        answering = {node for node in nodes if node not in self.errors and now - self.heard[node] < quiet}
        before, alone = set(self.silence.seconds), self.silence.alone
        self.silence.round(nodes, answering, took, stepped=stepped)
        if self.silence.alone and not alone:
            self.watcher.note("no node answers; is this machine's network away? the run goes on, trying again")
        elif not self.silence.alone:
            for node in sorted(set(self.silence.seconds) - before):
                self.watcher.note(f"{node} does not answer; trying again for {LOST_AFTER:.0f} s")
            for node in sorted(before - set(self.silence.seconds)):
                self.watcher.note(f"{node} answers again")
        if stepped or not self.progress.started or self.progress.ended:
            self.idle = 0.0
        elif nodes[0] in answering:
            was = self.idle
            self.idle += min(took, LONGEST_ROUND)
            if self.patience.stall and was <= self.patience.stall < self.idle:
                self.watcher.note(f"no step for {self.idle:.0f} s: does a rank hang? (launch.stall)")
                notify_aside(self.live.folder, "stalled", self.watcher)

    def seen(self, now: float) -> State | None:
        """The state that the run is in, once it is over; None before."""
        starters = self.live.backend.starters(self.live.job)
        states = {node: self.reports[node].state for node in starters if node in self.reports}
        if self.silence.alone:
            self._assert_there()
            noted = State(self.live.folder.read_manifest()["state"])
            if noted in ENDED:
                return noted
            if self.silence.deserted > self.patience.alone:
                return State.LOST
        lost = self.silence.lost
        done = [node for node, state in states.items() if state is State.SUCCEEDED]
        if set(starters) <= {*done, *lost} and starters[0] in done:
            return State.SUCCEEDED
        if lost or State.LOST in states.values():
            return State.LOST
        if State.CANCELLED in states.values():
            return State.CANCELLED
        errors = [error for report in self.reports.values() for error in report.errors]
        # A rank that was asked to stop did so; whether that was a cancel, its supervisor tells.
        told = any(error.get("type") != "Stopped" for error in errors) and not self.patience.elastic
        if self.sign is None and (told or State.FAILED in states.values() or self._told_elsewhere()):
            self.sign = now
        over = len(states) == len(starters) and all(state in ENDED for state in states.values())
        if self.sign is not None and (now - self.sign > SETTLE or over):
            return State.FAILED
        return State.FAILED if self._hangs() else None

    def _hangs(self) -> bool:
        return self.patience.end_stalled and 0 < self.patience.stall < self.idle

    def _ended(self, state: State) -> Ending:
        """Stop what still runs, and say how it ended."""
        self.unstopped = dict(self.logs)
        lost = self.silence.lost
        if state is State.SUCCEEDED:
            if lost:
                self.watcher.note(f"{', '.join(lost)} did not answer at the end; all others succeeded")
            return self._end(state, lost=lost)
        if state is State.CANCELLED:
            away = self.stop()
            return replace(self._end(state), away=() if self.silence.alone else away)
        if self.silence.alone and state is State.LOST:
            why = f"no node answered for {self.silence.deserted / 3600:.3g} h of asking (launch.patience)"
            return replace(self._end(State.LOST, lost=self.live.job.nodes), why=why)
        if lost:
            self.watcher.note(f"no answer from {', '.join(lost)} for {LOST_AFTER:.0f} s; stopping the others")
            self.stop(spare=lost)
            refused = [node for node in lost if not isinstance(self.errors.get(node), Unanswered)]
            return self._end(State.LOST, lost=lost, refused=refused)
        self.watcher.note("a failure; stopping every node")
        away = self.stop()
        told = self.reports
        gone = tuple(node for node in self.live.job.nodes if node in told and told[node].state is State.LOST)
        if gone:
            return self._end(State.LOST, lost=gone)
        failure = first_failure(self.reports, self.logs)
        if away and (failure is None or ECHO.search(failure.message)):
            # The others miss somebody: is it a node that went down?
            lost = self._await(away)
            if lost:
                return self._end(State.LOST, lost=lost)
        if self._hangs() and (failure is None or failure.rank is None):
            return self._hung()
        return self._end(State.FAILED)

    def _await(self, away: Collection[str]) -> tuple[str, ...]:
        """Ask nodes that were away when the run was stopped until they answer or count as lost, which those do too
        that have forgotten their supervisor; those that answer are stopped as well."""
        nodes, deadline = tuple(away), time.monotonic() + LOST_AFTER
        while nodes and time.monotonic() < deadline:
            nodes = tuple(each.item for each in fan_out(nodes, self.live.reached) if each.value is None)
            time.sleep(INTERVAL if nodes else 0)
        self.stop(spare=nodes)
        gone = [node for node in away if node in self.reports and self.reports[node].state is State.LOST]
        return tuple(node for node in self.live.job.nodes if node in nodes or node in gone)

    def _hung(self) -> Ending:
        first = self.live.job.nodes[0]
        what = f"no step for {self.idle:.0f} s: a rank hangs"
        tail = tuple(self.logs.get(f"logs/{first}/rank0.log", "").splitlines()[-8:])
        ending = self._end(State.FAILED)
        return replace(
            ending,
            failure=Failure(node=first, rank=None, exit_code=None, message=what, tail=tail),
            reason=Reason.COLLECTIVE_TIMEOUT,
        )

    def _end(self, state: State, lost: tuple[str, ...] = (), refused: Collection[str] = ()) -> Ending:
        failed = state in (State.FAILED, State.LOST)
        failure = cause(self.reports, self.logs, lost) if failed else None
        return Ending(
            state=state,
            reports=self.reports,
            failure=failure,
            lost=lost,
            progress=self.progress,
            reason=reason_of(failure, self.unstopped, lost=lost, refused=refused) if failed else None,
        )

    def _told_elsewhere(self) -> bool:
        tails = (self.logs.get(f"logs/{node}/launcher.log", "") for node in self.live.job.nodes)
        return any(self.live.backend.failure_in(line) for tail in tails for line in tail.splitlines())


def _keep_end(report: NodeReport, first: NodeReport) -> NodeReport:
    """What a node said of its end before it was stopped stays true afterwards."""
    return replace(report, state=first.state, exit_code=first.exit_code, ended=first.ended)
