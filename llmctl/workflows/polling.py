"""Every node of a run asked over and over, each in a thread of its own: a node that is away holds up no other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from llmctl.errors import LlmctlError
from llmctl.launch.supervised import FULL, NodeReport
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.transport import Transport
from llmctl.workflows.live import Live

INTERVAL = 1.0
"""Seconds between two questions to a node."""
LONGEST_INTERVAL = 4.0
"""The same where there are many nodes."""
FEW = 16
"""Nodes that are asked once in INTERVAL; more are asked less often, so that the launcher keeps up."""
HELD = 8
"""Answers that may wait to be taken, a node: a slow reader slows the asking down and fills no memory."""

Answer = Outcome[str, NodeReport]


@dataclass
class Polling:
    """Asks until the end of its block, in which nobody else may use the connections of `live`. A lost connection is
    made again."""

    live: Live
    offsets: Mapping[str, Mapping[str, int]]
    """Where in each node's files what was not told yet begins."""
    interval: float = INTERVAL
    nodes: tuple[str, ...] = ()
    """Those that are asked; all without any."""
    pause: Callable[[], float] = lambda: 0.0
    """Seconds between two questions, where more than `interval`; looked at once in INTERVAL, so that what happens
    meanwhile is asked for soon."""
    _answers: queue.Queue[Answer | Exception] = field(init=False)
    _offsets: dict[str, dict[str, int]] = field(init=False)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.nodes = self.nodes or self.live.job.nodes
        self.interval = max(self.interval, interval_of(len(self.nodes)))
        self._answers = queue.Queue(HELD * len(self.nodes))
        self._offsets = {node: dict(self.offsets.get(node, {})) for node in self.nodes}

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._threads.append(threading.Thread(target=self._poll, args=(node,), daemon=True, name=f"poll {node}"))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def take(self, seconds: float) -> list[Answer]:
        """The answers that have come, at least one unless none comes within `seconds`; those of one node in order."""
        answers: list[Answer] = []
        try:
            answers.append(self._told(self._answers.get(timeout=seconds)))
            while True:
                answers.append(self._told(self._answers.get_nowait()))
        except queue.Empty:
            return answers

    def rest(self) -> Iterator[Answer]:
        """Stop asking at intervals; what is left in the nodes' files now."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        yield from self.take(0)
        todo = list(self.nodes)
        while todo:
            outcomes = fan_out(todo, lambda node: self._ask(node, self._offsets[node]))
            answers = [outcome.value for outcome in outcomes if outcome.value is not None]
            for answer in answers:
                self._note(answer)
            yield from answers
            todo = [answer.item for answer in answers if answer.value is not None and more_waits(answer.value)]

    def _poll(self, node: str) -> None:
        while not self._over.is_set():
            try:
                answer = self._ask(node, self._offsets[node])
            except Exception as error:  # noqa: BLE001 - raised again where the answers are taken
                self._put(error)
                return
            if self._put(answer):
                self._note(answer)
            if answer.value is None or not more_waits(answer.value):
                self._await_turn()

    def _await_turn(self) -> None:
        """Wait for the time of the next question."""
        asked = time.monotonic()
        while (left := asked + max(self.interval, self.pause()) - time.monotonic()) > 0:
            if self._over.wait(min(left, INTERVAL)):
                return

    def _ask(self, node: str, offsets: Mapping[str, int]) -> Answer:
        transport: Transport | None = None
        try:
            transport = self.live.reached(node)
            return Outcome(node, value=self.live.backend.logs(self.live.job, transport, offsets))
        except LlmctlError as error:
            if transport is not None and self.live.transports.get(node) is transport:
                del self.live.transports[node]
                transport.close()
            return Outcome(node, error=error)

    def _note(self, answer: Answer) -> None:
        if answer.value is not None:
            self._offsets[answer.item].update(answer.value.offsets)

    def _put(self, answer: Answer | Exception) -> bool:
        while not self._over.is_set():
            try:
                self._answers.put(answer, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    @staticmethod
    def _told(answer: Answer | Exception) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return answer


def interval_of(count: int) -> float:
    """Seconds between two questions to each of `count` nodes."""
    return min(LONGEST_INTERVAL, max(INTERVAL, INTERVAL * count / FEW))


def more_waits(report: NodeReport) -> bool:
    """Whether the files of a node hold more than one answer brought."""
    return any(len(text.encode()) > FULL for text in report.texts.values())


def told_so_far(reports: Sequence[NodeReport]) -> dict[str, dict[str, int]]:
    """Where each node's files go on behind `reports`."""
    return {report.node: dict(report.offsets) for report in reports}
