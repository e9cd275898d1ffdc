"""Who watches a run, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llmctl.launch.failures import Failure
from llmctl.launch.supervised import NodeReport
from llmctl.run.attempts import Reason
from llmctl.run.records import Progress
from llmctl.run.states import State


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
    """How a run, or an attempt of it, ended."""

    state: State
    reports: dict[str, NodeReport]
    failure: Failure | None = None
    lost: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress)
    reason: Reason | None = None
    """Why it failed."""
    why: str = ""
    """Why it is not started again, or could not be; empty where nothing was to be tried."""
    away: tuple[str, ...] = ()
    """Nodes of a cancelled run that could not be told to end it."""


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
