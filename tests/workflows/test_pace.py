"""How often nodes are asked by somebody whom nobody sees, without any node."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from llmctl.launch.supervised import Job, NodeReport
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import Transport
from llmctl.run.folder import RunFolder
from llmctl.run.states import State
from llmctl.workflows.pace import LIVELY, LOOKED, UNWATCHED, Pace, look, looked_on
from llmctl.workflows.polling import Polling
from tests.workflows.test_follow import JOB, live_of


def quiet(folder: RunFolder, stall: float = 0) -> Pace:
    """Of a run in which nothing has happened for long."""
    pace = Pace(folder, stall)
    pace._happened -= LIVELY
    return pace


def test_a_run_that_nobody_looks_at_is_asked_seldom_until_something_happens(tmp_path: Path) -> None:
    pace = quiet(RunFolder(tmp_path))
    assert Pace(RunFolder(tmp_path)).pause() == 0, "just begun"
    assert pace.pause() == UNWATCHED
    pace.happened()
    assert pace.pause() == 0


def test_who_looks_on_makes_it_often_for_a_while(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not looked_on(folder)
    look(folder)
    assert looked_on(folder)
    assert quiet(folder).pause() == 0
    then = time.time() - LOOKED - 1
    os.utime(tmp_path / "watched", (then, then))
    assert quiet(folder).pause() == UNWATCHED


def test_a_step_is_never_missed_for_longer_than_a_rank_may_hang(tmp_path: Path) -> None:
    assert quiet(RunFolder(tmp_path), stall=4).pause() == 1
    assert quiet(RunFolder(tmp_path), stall=1800).pause() == UNWATCHED


class Counting:
    """A backend that counts its questions."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def logs(self, _job: Job, transport: Transport, _offsets: Mapping[str, int]) -> NodeReport:
        self.asked.release()
        return NodeReport(node=transport.node.name, state=State.RUNNING)


def test_a_question_comes_soon_once_the_pause_is_over(tmp_path: Path) -> None:
    backend, pause = Counting(), [1000.0]
    live = live_of(tmp_path, backend, {})
    live.transports = {node.name: LocalTransport(node) for node in live.nodes}
    with Polling(live, {}, pause=lambda: pause[0]):
        for _ in JOB.nodes:
            assert backend.asked.acquire(timeout=30), "each is asked at once"
        assert not backend.asked.acquire(timeout=1.5)
        pause[0] = 0.0
        for _ in JOB.nodes:
            assert backend.asked.acquire(timeout=30)
