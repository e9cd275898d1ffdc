"""The supervisor itself, on this machine: it outlives its caller, tells what happens, and ends only its own run."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmctl_engine.checkpoint import ASIDE

from llmctl.launch import supervised
from llmctl.launch.backends import BACKENDS
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.resources import onnode_file
from llmctl.run.states import State
from tests.launch.supervising import HERE, ended, lives, start, until, wait_for


def test_exit_code_log_and_environment_are_told(make_job: Callable[..., Job]) -> None:
    job = make_job('echo "rank $1 of $LLMCTL_RUN_ID on $LLMCTL_NODE"; mkdir -p "$LLMCTL_LOG_DIR"; exit 7')
    start(job)
    report = until(job, ended)
    assert (report.state, report.exit_code) == (State.FAILED, 7)
    assert report.texts["logs/here/launcher.log"] == f"rank 0 of {job.run_id} on here\n"


def test_a_run_is_started_once(make_job: Callable[..., Job]) -> None:
    job = make_job("sleep 60")
    start(job)
    (again,) = supervised.start(job, {"here": HERE}, ["here"])
    assert "it runs already" in str(again.error)
    (stopped,) = supervised.cancel(job, {"here": HERE}, 5)
    assert stopped.error is None


def test_cancel_ends_its_own_run_only_and_is_noted(make_job: Callable[..., Job]) -> None:
    mine, other = make_job("sleep 60 & sleep 60 & echo begun; wait", "mine"), make_job("sleep 60", "other")
    start(mine)
    start(other)
    until(mine, lambda report: "begun" in report.texts.get("logs/here/launcher.log", ""))
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (outcome,) = supervised.cancel(mine, {"here": HERE}, 5)
        assert outcome.error is None
        assert outcome.value is not None
        assert outcome.value >= 3
        assert until(mine, ended).state is State.CANCELLED
        assert supervised.poll(other, HERE, {}).state is State.RUNNING
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        supervised.cancel(other, {"here": HERE}, 5)


def test_what_ignores_sigterm_is_killed(make_job: Callable[..., Job]) -> None:
    job = make_job("trap '' TERM; echo armed; while :; do sleep 1; done")
    start(job)
    until(job, lambda report: "armed" in report.texts.get("logs/here/launcher.log", ""))
    (outcome,) = supervised.cancel(job, {"here": HERE}, 1)
    assert outcome.error is None
    assert until(job, ended).exit_code == 137


def test_a_checkpoint_that_was_cut_short_goes_with_the_cancel(make_job: Callable[..., Job]) -> None:
    job = make_job("sleep 300")
    start(job)
    for name in (ASIDE, "checkpoint-5"):
        (Path(job.run_dir) / "output" / name / "deep").mkdir(parents=True)
    (outcome,) = supervised.cancel(job, {"here": HERE}, 5)
    assert outcome.error is None
    assert [path.name for path in (Path(job.run_dir) / "output").iterdir()] == ["checkpoint-5"]


def test_a_supervisor_that_was_killed_is_lost(make_job: Callable[..., Job]) -> None:
    job = make_job("sleep 60")
    start(job)
    state = json.loads((Path(job.run_dir) / "state" / "here.json").read_text())
    os.kill(state["supervisor"]["pid"], 9)
    assert until(job, ended).state is State.LOST
    supervised.cancel(job, {"here": HERE}, 2)


def test_an_end_between_two_looks_is_no_loss(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job("exit 3")
    start(job)
    assert until(job, ended).state is State.FAILED
    path = Path(job.run_dir) / "state" / "here.json"
    over = path.read_text()
    guardian = json.loads(over)["guardian"]["pid"]
    wait_for("the guardian goes on", lambda: not lives(guardian))  # it would take what follows for its own run
    path.write_text(json.dumps({**json.loads(over), "state": "RUNNING"}))
    program = runpy.run_path(str(onnode_file("supervisor.py")))

    def alive(_state: object) -> bool:
        path.write_text(over)
        return False

    monkeypatch.setitem(program["poll"].__globals__, "alive", alive)
    told = program["poll"](job.run_dir, "here", {}, None)
    assert (told["state"]["state"], told["state"]["exit_code"]) == ("FAILED", 3)


def test_logs_come_in_whole_lines_behind_the_offsets(make_job: Callable[..., Job]) -> None:
    job = make_job('printf "one\\ntwo\\nthr"; sleep 60')
    start(job)
    first = until(job, lambda report: bool(report.texts))
    assert first.texts["logs/here/launcher.log"] == "one\ntwo\n"
    again = supervised.poll(job, HERE, first.offsets)
    assert "logs/here/launcher.log" not in again.texts
    supervised.cancel(job, {"here": HERE}, 2)
    rest = until(job, lambda report: ended(report))
    assert rest.texts["logs/here/launcher.log"].startswith("one\ntwo\nthr")
    assert supervised.poll(job, HERE, {}, 3).texts["logs/here/launcher.log"] == "thr"


def test_errors_of_ranks_are_told_and_cleared_by_the_next_start(make_job: Callable[..., Job]) -> None:
    job = make_job(
        "[ -e again ] && exit 0; touch again\n"
        """echo '{"rank": 3, "message": "x"}' > "$LLMCTL_LOG_DIR/rank3.error.json"; exit 1"""
    )
    start(job)
    assert until(job, ended).errors == ({"rank": 3, "message": "x"},)
    start(job)
    report = until(job, lambda r: r.state is State.SUCCEEDED)
    assert report.errors == ()


def test_a_second_start_tells_only_its_own(make_job: Callable[..., Job]) -> None:
    job = make_job('[ -e again ] && { echo new; exit 0; }; touch again; echo "exits with return code = -9"; exit 1')
    start(job)
    until(job, ended)
    start(job)
    report = until(job, lambda r: r.state is State.SUCCEEDED)
    assert report.texts == {"logs/here/launcher.log": "new\n"}
    assert supervised.poll(job, HERE, {}, 2).texts == {"logs/here/launcher.log": "w\n"}
    assert (Path(job.run_dir) / "logs/here/launcher.log").read_text().startswith("exits with")


def test_nodes_that_another_reaches_are_prepared_too(make_job: Callable[..., Job]) -> None:
    job = replace(make_job("exit 0"), nodes=("here", "there"))
    logs = Path(job.run_dir) / "logs/there"
    logs.mkdir(parents=True)
    (logs / "rank1.error.json").write_text('{"rank": 1, "message": "of the run before"}')
    (logs / "rank1.log").write_text("of the run before\n")
    there = LocalTransport(Node(name="there"))
    outcomes = BACKENDS["pdsh"].submit(job, {"here": HERE, "there": there})
    assert [(outcome.item, outcome.error) for outcome in outcomes] == [("here", None)]
    report = supervised.poll(job, there, {})
    assert (report.state, report.errors, dict(report.texts)) == (None, (), {})
    until(job, ended)


def test_why_nothing_was_started_is_told(make_job: Callable[..., Job]) -> None:
    job = replace(make_job("exit 0"), shell="no such shell")
    (outcome,) = supervised.start(job, {"here": HERE}, ["here"])
    assert "No such file or directory: 'no such shell'" in str(outcome.error)
    assert "Traceback" in (Path(job.run_dir) / "logs/here/launcher.log").read_text()


def test_digests_are_those_of_the_launcher(tmp_path: Path, make_job: Callable[..., Job]) -> None:
    from llmctl.run.trees import make_tree

    job = make_job("")
    folder = tmp_path / "t"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "数据").write_bytes(b"x" * 3_000_000)
    (folder / "a").write_bytes(b"")
    told: dict[str, Any] = supervised.call(HERE, job, "digest", str(folder), str(tmp_path / "none"))
    tree = make_tree({"deep/数据": folder / "deep" / "数据", "a": folder / "a"})
    assert told["digests"] == [tree.digest, None]


def test_a_folder_without_supervisor_is_an_error(tmp_path: Path) -> None:
    job = Job(run_id="x", run_dir=str(tmp_path), nodes=("here",), python=sys.executable, shell="sh")
    (outcome,) = supervised.states(job, {"here": HERE})
    assert "gave no answer to poll" in str(outcome.error)
    (unreached,) = supervised.states(job, {})
    assert "was not reached" in str(unreached.error)
