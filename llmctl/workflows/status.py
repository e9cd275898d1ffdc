"""How a run stands: asked once, or watched."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmctl.errors import LlmctlError
from llmctl.launch.failures import Failure, cause
from llmctl.launch.supervised import NodeReport
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.soon import connect_soon
from llmctl.run.acting import acting, actor
from llmctl.run.attempts import Attempt, read_attempts
from llmctl.run.folder import RunFolder
from llmctl.run.index import IndexEntry, find_run, runs_folder
from llmctl.run.records import Progress
from llmctl.run.seen import NodeSeen
from llmctl.run.states import ENDED, State
from llmctl.workflows.attempting import interrupted_restart, started_alike
from llmctl.workflows.ending import conclude, noted_ending
from llmctl.workflows.follow import GRACE
from llmctl.workflows.live import Live, opened
from llmctl.workflows.manifest import note_state
from llmctl.workflows.memory import Memory
from llmctl.workflows.mirror import RECORDS
from llmctl.workflows.pace import look
from llmctl.workflows.polling import Polling, told_so_far
from llmctl.workflows.watching import Ending, Watcher, label_of, state_of

LINES = 50
"""Log lines that are kept for a look."""
REDRAW = 0.5
"""Seconds between two looks at most."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run as its nodes tell it now."""

    folder: RunFolder
    state: State
    nodes: Mapping[str, NodeSeen]
    """Every node in the order of the ranks; of one that does not answer, what it told last."""
    errors: Mapping[str, LlmctlError]
    """Nodes that do not answer."""
    progress: Progress
    failure: Failure | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[tuple[str, str]] = ()
    """(label, line) of the newest log lines."""

    @property
    def lost(self) -> tuple[str, ...]:
        """The nodes with which a LOST run was lost."""
        return tuple(self.manifest.get("lost", ())) if self.state is State.LOST else ()

    @property
    def attempts(self) -> list[Attempt]:
        """The starts of the run."""
        return read_attempts(self.manifest)


class View:
    """Takes in what the nodes of a run answer, one after the other, and tells how the run stands."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.reports: dict[str, NodeReport] = {}
        self.errors: dict[str, LlmctlError] = {}
        self.texts: dict[str, str] = {}
        """The newest text of each file."""
        self.progress = Progress(total_steps=live.folder.read_manifest().get("total_steps") or 0)
        self.memory = Memory(live.folder)
        self._lines = deque[tuple[str, str]](maxlen=LINES)

    def take(self, node: str, answer: NodeReport | None, error: LlmctlError | None) -> None:
        """One node's answer, or why there is none."""
        if answer is None:
            if error is not None:
                self.errors[node] = error
            return
        self.errors.pop(node, None)
        self.reports[node] = answer
        own: Progress | None = None
        for name, text in answer.texts.items():
            self.texts[name] = text
            if name == RECORDS:
                if node == self._live.job.nodes[0]:  # on a shared file system every node sees the same records
                    self.progress.feed(text)
                    own = self.progress
            else:
                self._lines.extend((label_of(name), line) for line in text.splitlines()[-LINES:])
        self.memory.take(answer, own)

    def told(self) -> State:
        """The state that the nodes tell, whatever was noted."""
        starters = self._live.backend.starters(self._live.job)
        return state_of({node: self.reports[node] for node in starters if node in self.reports})

    def status(self, state: State, failure: Failure | None = None) -> RunStatus:
        """All of it as a value."""
        self.progress.ended = self.progress.ended or state in ENDED
        return RunStatus(
            folder=self._live.folder,
            state=state,
            nodes={node: self.memory.node(node) for node in self._live.job.nodes},
            errors=dict(self.errors),
            progress=self.progress,
            failure=failure,
            manifest=self._live.folder.read_manifest(),
            lines=tuple(self._lines),
        )


def status(given: str | None, *, runs: Path | None, watcher: Watcher) -> RunStatus:
    """Ask the nodes about a run. One that ended while nobody acts for it is collected and noted now, and what still
    runs of it beside the failure is ended."""
    folder = find_run(given, runs_folder(runs))
    before = folder.read_manifest()
    with opened(folder, connect_soon) as (live, errors):
        view = _asked(live, errors)
        view.memory.keep()
        now = folder.read_manifest()
        known = State(now["state"])
        unborn = known is State.STAGING and all(report.state is None for report in view.reports.values())
        begun = not started_alike(before, now)  # what the nodes told is of before that
        state = known if known in ENDED or view.errors or unborn or begun else view.told()
        lost = tuple(each for each, report in view.reports.items() if report.state is State.LOST)
        lost = lost if state is State.LOST else ()
        noted = noted_ending(folder)
        failure = noted.failure if noted else None
        if noted is None and state in (State.FAILED, State.LOST):
            failure = cause(view.reports, view.texts, lost)
        if known not in ENDED and (actor(folder) is not None or interrupted_restart(folder)):
            state = known
        elif state in ENDED and known not in ENDED:
            with acting(folder) as ours:
                if ours and noted_ending(folder) is None:  # else somebody else does so just now
                    _end(
                        live,
                        Ending(state=state, reports=view.reports, failure=failure, lost=lost, progress=view.progress),
                        watcher,
                    )
        elif state is not known:  # else there is nothing to note, and an end that is noted just now stays
            note_state(folder, state)
        return view.status(state, failure)


def _end(live: Live, ending: Ending, watcher: Watcher) -> None:
    """Note the end of a run that nobody acted for, and end what is left of it."""
    if any(report.state in (State.RUNNING, State.LOST) for report in ending.reports.values()):
        live.backend.cancel(live.job, live.transports, GRACE)
    conclude(live, ending, watcher)


def refresh(listed: Sequence[IndexEntry], watcher: Watcher) -> list[Outcome[IndexEntry, State]]:
    """Ask the nodes about every run that has not ended; the state or the error of each, in order."""

    def one(entry: IndexEntry) -> State:
        if entry.state in ENDED:
            return entry.state
        asked = status(entry.path, runs=None, watcher=watcher)
        if asked.errors:
            raise next(iter(asked.errors.values()))
        return asked.state

    return fan_out(listed, one, limit=8)


def watched(given: str | None, *, runs: Path | None) -> Iterator[RunStatus]:
    """How a run stands, again and again until it has ended; nothing is done about it. The first value comes when all
    nodes that answer soon have answered."""
    folder = find_run(given, runs_folder(runs))
    while True:
        known = folder.read_manifest()
        with opened(folder, connect_soon) as (live, errors):
            view = _asked(live, errors)
            with Polling(live, told_so_far(list(view.reports.values()))) as polling:
                while started_alike(known, folder.read_manifest()):
                    state = _state_now(live, view)
                    yield view.status(state)
                    if state in ENDED:
                        return
                    for answer in polling.take(REDRAW):
                        view.take(answer.item, answer.value, answer.error)
                    view.memory.keep()
                    look(folder)


def _state_now(live: Live, view: View) -> State:
    """What is noted, while somebody acts for the run; else what the nodes tell."""
    known = State(live.folder.read_manifest()["state"])
    if known in ENDED or view.errors or actor(live.folder) is not None or known is not State.RUNNING:
        return known
    return view.told()


def _asked(live: Live, errors: Mapping[str, LlmctlError]) -> View:
    """Every node's answer with the ends of its files."""
    view = View(live)
    for outcome in live.backend.status(live.job, live.transports):
        view.take(outcome.item, outcome.value, errors.get(outcome.item, outcome.error))
    if live.job.nodes[0] in view.errors and live.folder.steps.is_file():
        view.progress.feed(live.folder.steps.read_text("utf-8", errors="replace"))  # what was brought here last
    return view
