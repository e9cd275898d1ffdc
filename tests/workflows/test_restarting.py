"""Runs that are started again by themselves, with a rank of the standard library on real nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llmctl.run.acting import actor
from llmctl.run.folder import RunFolder
from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import SMALLRANK, Drill, until
from tests.lab import Lab
from tests.workflows.jobs import ENDLESS, Started, losses, only_run, write_recipe

pytestmark = pytest.mark.lab


@pytest.fixture
def four() -> Iterator[Lab]:
    """Two nodes and two spares with the small rank, of the test's own."""
    with ExitStack() as stack:
        yield make_lab(stack, count=4)


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Two nodes with the small rank, which the tests leave as they were."""
    with ExitStack() as stack:
        yield make_lab(stack, count=2)


def attempts(run: Drill) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run.run / "manifest.json").read_text())["attempts"]
    return found


def records(run: Drill) -> list[dict[str, Any]]:
    text = (run.run / "output" / "steps.jsonl").read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]  # the last one may come yet


def test_spares_take_the_places_of_lost_nodes_the_first_one_too(four: Lab, tmp_path: Path) -> None:
    launch = {"retries": 2, "spares": ["node9=127.0.0.1:1", "node3", "node4"]}
    run = Drill(four, tmp_path, steps=150, sections={"launch": launch})
    started = run.start()
    run.until_step(12)
    four.crash(four.nodes[1])
    until("the second attempt", lambda: len(attempts(run)) == 2, 150)
    again = attempts(run)[1]
    assert (again["nodes"], again["automatic"]) == (["node1", "node3"], True)
    run.until_step(again["from_step"] + 7)
    begun = again["from_step"]
    until("its records here", lambda: begun in [record.get("resumed_from_step") for record in records(run)], 60)
    four.crash(four.nodes[0])
    assert started.wait(240) == 0, run.text
    first, second, third = attempts(run)
    assert (first["reason"], first["node"], first["lost"]) == ("node_lost", "node2", ["node2"])
    assert (second["reason"], second["node"], second["lost"]) == ("node_lost", "node1", ["node1"])
    assert third["nodes"] == ["node4", "node3"]
    for attempt in (second, third):
        assert attempt["from_step"] >= 5
        assert attempt["from_step"] % 5 == 0
    assert "the spare node9: the connection was refused" in run.text
    assert "retry 1 of 2, node3 in the place of node2" in run.text
    assert f"SUCCEEDED: {run.run.name}, 150 steps" in run.text
    assert [node["name"] for node in run.manifest["nodes"]] == ["node4", "node3"]
    assert [node["name"] for node in run.manifest["leftover"]] == ["node2", "node1"]
    four.restart(four.nodes[1])
    done = llmctl("cancel", run.run, env=four.env, code=5)  # node1 is still away
    assert "node2: 0 processes ended" in done.stdout
    assert run.manifest["state"] == "SUCCEEDED"
    assert [node["name"] for node in run.manifest["leftover"]] == ["node1"]
    starts = [record["resumed_from_step"] for record in records(run) if record["record"] == "run"]
    assert starts == [0, second["from_step"], third["from_step"]]
    steps = {record["step"] for record in records(run) if record["record"] == "step"}
    assert steps >= set(range(third["from_step"] + 1, 151))


def test_a_killed_rank_is_started_again_on_the_same_nodes(pair: Lab, tmp_path: Path) -> None:
    run = Drill(pair, tmp_path, steps=60, sections={"launch": {"retries": 1, "on": ["rank_killed"]}})
    started = run.start()
    run.until_step(12)
    run.order(1, "signal 9")
    assert started.wait(90) == 0, run.text
    first, second = attempts(run)
    assert (first["reason"], first["node"], first["rank"], first["exit_code"]) == ("rank_killed", "node2", 1, 137)
    assert (second["nodes"], second["from_step"] % 5, second["reason"]) == (["node1", "node2"], 0, None)
    assert second["last_step"] == 60
    states = [entry["state"] for entry in run.manifest["states"]]
    assert states == ["STAGING", "RUNNING", "STAGING", "RUNNING", "SUCCEEDED"]
    assert run.left() == []


def test_a_killed_rank_on_this_machine_is_started_again(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable} -S\n{SMALLRANK.read_text(encoding='utf-8')}", encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.json").write_text('[{"instruction": "count", "input": "", "output": "on"}]')
    recipe = {
        "name": "here",
        "cluster": {"device": "cpu", "devices_per_node": 2, "python": str(python)},
        "launch": {"backend": "local", "retries": 1},
        "model": {"init": {"model_type": "llama", "vocab_size": 600}},
        "data": {"datasets": ["rows"]},
        "train": {"max_steps": 60, "save_steps": 5},
    }
    (tmp_path / "here.yaml").write_text(json.dumps(recipe))
    env = {**os.environ, "LLMCTL_HOME": str(tmp_path / "home")}
    words = [sys.executable, "-m", "llmctl", "run", str(tmp_path / "here.yaml"), "--runs", str(tmp_path / "runs")]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as started:

        def saved() -> list[Path]:
            return list(tmp_path.glob("runs/*/output/checkpoint-10/llmctl_checkpoint.json"))

        until("a checkpoint", saved, 90)
        run = only_run(tmp_path / "runs")
        (run / "orders").mkdir()
        (run / "orders" / "new").write_text("signal 9")
        (run / "orders" / "new").rename(run / "orders" / "rank1")
        text = started.communicate(timeout=120)[0]
    assert started.returncode == 0, text
    first, second = json.loads((run / "manifest.json").read_text())["attempts"]
    assert (first["reason"], first["rank"], second["from_step"] >= 10) == ("rank_killed", 1, True)


def test_an_error_of_the_job_and_one_too_many_are_not_retried(pair: Lab, tmp_path: Path) -> None:
    run = Drill(pair, tmp_path, sections={"launch": {"retries": 1}})
    started = run.start()
    run.until_step(7)
    run.order(0, "signal 11")
    until("the second attempt", lambda: len(attempts(run)) == 2, 60)
    run.until_step(attempts(run)[1]["from_step"] + 7)
    run.order(1, "signal 9")
    assert started.wait(60) == 1, run.text
    assert "not started again: all 1 retries are used up" in run.text
    assert [each["rank"] for each in attempts(run)] == [0, 1]

    again = Drill(pair, tmp_path, name="job", sections={"launch": {"retries": 1}})
    started = again.start()
    again.until_step(7)
    again.order(1, "raise no such row")
    assert started.wait(60) == 1, again.text
    assert "not started again: an error of the job is not retried" in again.text
    assert [each["reason"] for each in attempts(again)] == ["job_error"]
    assert run.left() == again.left() == []


def test_a_rank_that_hangs_is_told_and_retried(pair: Lab, tmp_path: Path) -> None:
    notify = f"echo $LLMCTL_NOTIFY_EVENT >> {tmp_path}/events"
    run = Drill(pair, tmp_path, steps=60, sections={"launch": {"retries": 1, "stall": 10, "notify": notify}})
    started = run.start()
    run.until_step(12)
    run.order(1, "hang")
    assert started.wait(150) == 0, run.text
    assert "does a rank hang? (launch.stall)" in run.text
    first, _ = attempts(run)
    assert first["reason"] == "collective_timeout"
    assert (tmp_path / "events").read_text().split() == ["stalled", "ended"]


def test_a_run_outlives_a_launcher_without_network(pair: Lab, tmp_path: Path) -> None:
    run = Drill(pair, tmp_path, steps=450)
    started = run.start()
    run.until_step(7)
    for node in pair.nodes:
        pair.cut(node)
    try:
        started.until("is this machine's network away? the run goes on", 40)
        with pytest.raises(AssertionError, match="not within"):
            until("an end", lambda: started.process.poll() is not None, 35)
    finally:
        for node in pair.nodes:
            pair.join(node)
    assert started.wait(120) == 0, run.text
    assert len(attempts(run)) == 1


def test_a_restart_outlives_its_launcher_and_waits_for_a_rebooted_node(pair: Lab, tmp_path: Path) -> None:
    run = Drill(pair, tmp_path, sections={"launch": {"retries": 1}})
    started = run.start()
    run.until_step(12)
    pair.crash(pair.nodes[1])
    started.until("waiting for node2 to come back", 90)
    started.process.kill()
    started.process.wait()
    assert run.manifest["state"] == "STAGING"
    words = [sys.executable, "-m", "llmctl", "keep", str(run.run)]
    with (tmp_path / "keeper.out").open("w") as output, subprocess.Popen(words, env=pair.env, stdout=output) as keeper:
        until("it waits again", lambda: "waiting for node2" in (tmp_path / "keeper.out").read_text(), 60)
        pair.restart(pair.nodes[1])
        until("the second attempt", lambda: len(attempts(run)) == 2, 60)
        again = attempts(run)[1]
        assert again["nodes"] == ["node1", "node2"]
        assert again["from_step"] >= 5
        until("steps", lambda: max(run.records(), default=0) > again["from_step"] + 7, 60)
        llmctl("cancel", run.run, env=pair.env, code=0)
        assert keeper.wait(60) == 0
    assert run.manifest["state"] == "CANCELLED"
    assert run.left() == []


def test_a_cancel_ends_the_waiting_for_a_lost_node(pair: Lab, tmp_path: Path) -> None:
    run = Drill(pair, tmp_path, sections={"launch": {"retries": 1}})
    started = run.start()
    run.until_step(7)
    pair.crash(pair.nodes[1])
    try:
        started.until("waiting for node2 to come back", 90)
        llmctl("cancel", run.run, env=pair.env, code=5)
        assert started.wait(60) == 130, run.text
    finally:
        pair.restart(pair.nodes[1])
    assert run.left() == []


@pytest.mark.engine
def test_torchrun_replaces_a_lost_rank_of_the_real_engine(pair: Lab, tmp_path: Path) -> None:
    train = {"epochs": 10, "save_steps": 5, "save_total_limit": 2}
    recipe = write_recipe(tmp_path, pair, launch={"elastic": 1}, train=train)
    started = Started(recipe, pair, "--runs", str(tmp_path / "runs"), backlog=tmp_path / "out")
    started.until("step 12/")
    run = only_run(tmp_path / "runs")
    victim = next(
        line
        for line in pair.exec(pair.nodes[1], "ps -eo pid,args").stdout.splitlines()
        if "-m llmctl_engine engine.json" in line and "torch.distributed.run" not in line
    )
    pair.exec(pair.nodes[1], f"kill -9 {victim.split()[0]}")
    assert started.wait(150) == 0, started.text
    first, second = json.loads((run / "manifest.json").read_text())["attempts"]
    assert (first["reason"], second["elastic"], second["automatic"]) == ("rank_killed", True, False)
    assert second["from_step"] >= 10
    assert f"continuing from checkpoint-{second['from_step']}" in started.text
    assert "torchrun replaced a lost rank" in started.text
    assert len(losses(run)) == 120


@pytest.mark.engine
def test_shards_that_lay_on_a_lost_node_alone_are_told_and_nothing_begins_anew(four: Lab, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        four,
        cluster={"nodes": ["node1", "node2"]},
        launch={"retries": 1, "spares": ["node3"]},
        train={**ENDLESS, "save_steps": 5, "save_total_limit": 2},
        deepspeed={"stage": 2},
    )
    started = Started(recipe, four, "--runs", str(tmp_path / "runs"), backlog=tmp_path / "out")
    started.until("step 12/")
    run = only_run(tmp_path / "runs")
    four.crash(four.nodes[1])
    assert started.wait(150) == 5, started.text
    assert "no checkpoint to go on from" in started.text
    assert "node1 lacks the shards of rank 1" in started.text
    assert f"bring node2 back, then llmctl run --resume {run.name}" in started.text
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["state"], len(manifest["attempts"])) == ("LOST", 1)
    assert [node["name"] for node in manifest["nodes"]] == ["node1", "node2"]


def test_a_cancel_that_did_not_reach_a_node_is_made_good_by_another_one(pair: Lab, tmp_path: Path) -> None:
    run = Drill(pair, tmp_path)
    run.detach()
    run.until_step(3)
    until("somebody acts", lambda: actor(RunFolder(run.run)))
    pair.cut(pair.nodes[1])
    assert "node2" in llmctl("cancel", run.run, env=pair.env, code=5).stderr
    until("nobody acts", lambda: actor(RunFolder(run.run)) is None, 60)
    pair.join(pair.nodes[1])
    assert [node["name"] for node in run.manifest["leftover"]] == ["node2"]
    llmctl("cancel", run.run, env=pair.env, code=0)
    assert run.left() == []
    assert (run.manifest["state"], run.manifest["leftover"]) == ("CANCELLED", [])
