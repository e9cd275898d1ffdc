"""What is asked of a run that has not started yet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from llmctl.cli.ending import tell_ending
from llmctl.cli.lifecycle import cancel
from llmctl.errors import LlmctlError, NodeError
from llmctl.launch.failures import Failure
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.remote.fanout import Outcome
from llmctl.resources import onnode_file
from llmctl.run.acting import acting
from llmctl.run.attempts import Attempt, opened_attempts
from llmctl.run.folder import RunFolder, write_json
from llmctl.run.states import State
from llmctl.workflows.ending import noted_ending
from llmctl.workflows.live import Live
from llmctl.workflows.manifest import SCHEMA, note_state
from llmctl.workflows.status import View, _asked, status
from tests.workflows.test_follow import Notes


def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State) -> RunFolder:
    """A run of this machine alone, noted in `state`, of which nothing was started."""
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    folder = RunFolder(tmp_path / "r-20261121-093000-kqzt")
    job = Job(run_id=folder.run_id, run_dir=str(folder.root), nodes=("here",), python=sys.executable, shell="sh")
    manifest = {"schema": SCHEMA, "backend": "local", "login": {"user": None, "port": None}, "job": asdict(job)}
    note_state(folder, state, nodes=[asdict(Node(name="here"))], **manifest)
    (folder.root / "supervisor.py").write_bytes(onnode_file("supervisor.py").read_bytes())
    return folder


def test_a_run_that_is_being_staged_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_here(tmp_path, monkeypatch, State.STAGING)
    for _ in range(2):
        assert status(str(folder.root), runs=None, watcher=Notes()).state is State.STAGING
    (noted,) = json.loads(folder.manifest.read_text())["states"]
    assert noted["state"] == "STAGING"


def test_a_run_that_begins_while_its_nodes_are_asked_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_here(tmp_path, monkeypatch, State.STAGING)
    first = Attempt(number=1, started=1.0, nodes=("here",))

    def asked_before(live: Live, errors: Mapping[str, LlmctlError]) -> View:
        view = _asked(live, errors)
        note_state(folder, State.RUNNING, attempts=opened_attempts([], first))
        return view

    monkeypatch.setattr("llmctl.workflows.status._asked", asked_before)
    assert status(str(folder.root), runs=None, watcher=Notes()).state is State.RUNNING
    assert [noted["state"] for noted in folder.read_manifest()["states"]] == ["STAGING", "RUNNING"]


def test_the_end_of_a_run_that_nobody_acts_for_is_noted_with_the_nodes_that_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_here(tmp_path, monkeypatch, State.RUNNING)
    gone = {"state": "RUNNING", "supervisor": {"pid": 4194303, "born": 1}, "boot_id": "another", "exit_code": None}
    write_json(folder.root / "state" / "here.json", gone)
    stray = subprocess.Popen(["sleep", "60"], env={**os.environ, "LLMCTL_RUN_ID": folder.run_id})
    with acting(folder):
        assert status(str(folder.root), runs=None, watcher=Notes()).state is State.RUNNING
    assert (stray.poll(), folder.read_manifest()["state"]) == (None, "RUNNING")
    assert status(str(folder.root), runs=None, watcher=Notes()).state is State.LOST
    assert stray.wait(60) == -signal.SIGTERM
    ending = noted_ending(folder)
    assert ending is not None
    assert ending.lost == ("here",)
    with pytest.raises(NodeError, match="lost here"):
        tell_ending(folder, ending)
    with pytest.raises(NodeError, match="lost its nodes") as told:
        tell_ending(folder, replace(ending, lost=()))
    assert f"llmctl status {folder.run_id}" in told.value.hint


def test_status_tells_the_end_as_it_was_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_here(tmp_path, monkeypatch, State.RUNNING)
    told = {"rank": 0, "type": "RuntimeError", "message": "Connection reset by peer", "time": 1.0}
    write_json(folder.root / "logs" / "here" / "rank0.error.json", told)
    note_state(folder, State.LOST, lost=["here"], failure=None)
    asked = status(str(folder.root), runs=None, watcher=Notes())
    assert (asked.state, asked.lost, asked.failure) == (State.LOST, ("here",), None)
    note_state(folder, State.FAILED, lost=[])
    noted = Failure(node="here", rank=0, exit_code=1, message="no such file", tail=("a", "b"))
    note_state(folder, State.FAILED, failure=asdict(noted))
    asked = status(str(folder.root), runs=None, watcher=Notes())
    assert (asked.lost, asked.failure, asked.progress.ended) == ((), noted, True)


def test_what_a_run_that_succeeded_had_left_is_ended_and_nothing_is_said_of_continuing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "r-20261121-093000-kqzt")
    folder.update_manifest(state=State.SUCCEEDED, leftover=[{"name": "node2"}])
    monkeypatch.setattr("llmctl.workflows.lifecycle.end_leftover", lambda _folder: [Outcome("node2", value=2)])
    cancel(str(folder.root), None)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "node2: 2 processes ended"
    assert "has SUCCEEDED" in told[1]
    assert "--resume" not in told[1]


def test_a_node_that_is_away_is_named_once_with_what_to_type_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "r-20261121-093000-kqzt")
    folder.update_manifest(state=State.SUCCEEDED, leftover=[{"name": "node1"}])
    away = [NodeError("does not answer", where=node, hint=f"llmctl check {node}") for node in ("node2", "node3")]
    outcomes = [Outcome("node1", value=2), *(Outcome(error.where, error=error) for error in away)]
    monkeypatch.setattr("llmctl.workflows.lifecycle.end_leftover", lambda _folder: outcomes)
    with pytest.raises(NodeError) as raised:
        cancel(str(folder.root), None)
    assert capsys.readouterr().out == "node1: 2 processes ended\n"
    lines = [
        f"{folder.run_id} may still run on node[2-3]",
        *(f"  {line}" for line in "\n".join(map(str, away)).split("\n")),
    ]
    assert str(raised.value).splitlines() == [
        *lines, f"  next: when that is mended, once more: llmctl cancel {folder.run_id}"
    ]  # fmt: skip
