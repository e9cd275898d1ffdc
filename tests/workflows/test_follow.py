"""Following a run: nodes that are away, without any node."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmctl.cli.keep import KeeperLog
from llmctl.errors import NodeError, Unanswered
from llmctl.launch.backends import BACKENDS
from llmctl.launch.supervised import Job, NodeReport
from llmctl.recipe.hosts import Node
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import Transport
from llmctl.run.attempts import Reason
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.run.seen import read_seen
from llmctl.run.states import State
from llmctl.workflows.follow import Follower, Patience
from llmctl.workflows.live import Live
from llmctl.workflows.memory import Memory
from llmctl.workflows.mirror import RECORDS

STEP = '{"record": "step", "step": 7, "loss": 1.5}\n'
JOB = Job(run_id="r-1", run_dir="/nowhere", nodes=("a", "b", "c"), python="python3", shell="sh")


class Told:
    """A backend whose nodes run, and which remembers who was told to stop."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def starters(self, job: Job) -> tuple[str, ...]:
        return job.nodes

    def logs(self, _job: Job, transport: Transport, _offsets: Mapping[str, int]) -> NodeReport:
        return NodeReport(node=transport.node.name, state=State.RUNNING)

    def cancel(self, _job: Job, transports: Mapping[str, Transport], _grace: float) -> list[Outcome[str, int]]:
        self.stopped = sorted(transports)
        return fan_out(self.stopped, len)


class Notes:
    """A watcher that keeps the remarks."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def lines(self, label: str, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def live_of(folder: Path, backend: Any, transports: dict[str, Transport]) -> Live:
    return Live(
        folder=RunFolder(folder),
        job=JOB,
        backend=backend,
        nodes=tuple(Node(name=name) for name in JOB.nodes),
        transports=transports,
        login={"user": None, "port": None},
        local=False,
    )


def test_a_stop_reaches_nodes_that_were_away_and_names_those_that_stay_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reconnect(_live: Live, name: str) -> Transport:
        if name == "c":
            raise NodeError("no route", where=name)
        return LocalTransport(Node(name=name))

    monkeypatch.setattr(Live, "reconnect", reconnect)
    backend = Told()
    follower = Follower(live_of(tmp_path, backend, {"a": LocalTransport(Node(name="a"))}), Notes())
    assert follower.stop() == ("c",)
    assert backend.stopped == ["a", "b"]


def test_a_rank_that_stopped_when_asked_to_is_no_failure(tmp_path: Path) -> None:
    follower = Follower(live_of(tmp_path, BACKENDS["ssh"], {}), Notes())
    for kind, sign in (("Stopped", False), ("RuntimeError", True)):
        error = {"rank": 0, "type": kind, "message": "m"}
        follower.reports = {"a": NodeReport(node="a", state=State.RUNNING, errors=(error,))}
        assert follower.seen(1.0) is None
        assert (follower.sign is not None) is sign


def test_a_supervisor_without_a_heartbeat_is_told_once(tmp_path: Path) -> None:
    watcher = Notes()
    follower = Follower(live_of(tmp_path, BACKENDS["ssh"], {}), watcher)
    for clock, beat in ((100.0, 99.0), (140.0, 99.0), (150.0, 99.0), (151.0, 150.0), (200.0, 150.0)):
        follower.take(Outcome("a", NodeReport(node="a", state=State.RUNNING, heartbeat=beat, clock=clock)))
    assert watcher.notes == [f"a: its supervisor gave no sign of life for {age} s" for age in (41, 50)]


def test_a_local_run_stays_local_when_it_is_reached_again(tmp_path: Path) -> None:
    node = Node(name="here")
    live = Live(
        folder=RunFolder(tmp_path),
        job=JOB,
        backend=BACKENDS["local"],
        nodes=(node,),
        transports={},  # as after a question that got no answer
        login={"user": None, "port": None},
        local=True,
    )
    assert isinstance(live.reconnect("here"), LocalTransport)


def test_a_run_whose_nodes_are_gone_for_good_is_given_up_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reconnect(_live: Live, name: str) -> Transport:
        raise Unanswered("it cannot be reached", where=name)

    monkeypatch.setattr(Live, "reconnect", reconnect)
    backend = Told()
    live = live_of(tmp_path, backend, {})
    live.folder.update_manifest(state="RUNNING")
    follower = Follower(live, Notes(), Patience(alone=1.5))
    follower.know(NodeReport(node="a", state=State.RUNNING, texts={RECORDS: STEP}, offsets={RECORDS: len(STEP)}))
    ending = follower.run()
    assert (ending.state, ending.lost, ending.reason) == (State.LOST, JOB.nodes, Reason.NODE_LOST)
    assert "launch.patience" in ending.why
    assert backend.stopped == [], "nobody is there to be stopped"
    seen = read_seen(live.folder)
    assert (seen["a"].state, seen["a"].step) == (State.RUNNING, 7), "what was told last is kept for status"


def test_what_the_nodes_told_last_is_written_down_not_too_often(tmp_path: Path) -> None:
    memory = Memory(RunFolder(tmp_path))
    memory.take(NodeReport(node="a", state=State.RUNNING), None)
    memory.keep()
    memory.take(NodeReport(node="b", state=State.FAILED, exit_code=3), None)
    memory.keep()
    assert set(read_seen(RunFolder(tmp_path))) == {"a"}
    memory.keep(now=True)
    assert read_seen(RunFolder(tmp_path))["b"].exit_code == 3


def test_a_full_disk_of_the_launcher_is_told_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Notes()
    follower = Follower(live_of(tmp_path, BACKENDS["ssh"], {}), watcher)
    (tmp_path / "output").write_text("no folder")
    for size in (len(STEP), 2 * len(STEP)):
        follower.know(NodeReport(node="a", state=State.RUNNING, texts={RECORDS: STEP}, offsets={RECORDS: size}))
    assert follower.progress.step == 7
    (told,) = watcher.notes
    assert f"what the nodes tell cannot be kept in {tmp_path}" in told
    (tmp_path / "seen.json" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="seen"):
        follower.memory.keep(now=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output", "seen.json"], "nothing half-done"
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        KeeperLog().note("a failure; stopping every node")
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
