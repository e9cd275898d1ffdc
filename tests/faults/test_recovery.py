"""Faults from which a run recovers by itself: `launch.retries`, spares, torchrun's own restarts."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeDrill
from tests.faults.harness import SAVE_STEPS

pytestmark = pytest.mark.lab


def test_rank_killed_and_retried(drill: MakeDrill) -> None:
    run = drill(steps=60, sections={"launch": {"retries": 1}})
    run.start()
    run.until_step(12)
    run.hurt()
    run.order(1, "signal 9")
    run.ends(0, "retry 1 of 1", f"SUCCEEDED: {run.run.name}, 60 steps", within=90)
    first, second = run.manifest["attempts"]
    assert (first["reason"], first["node"], first["exit_code"]) == ("rank_killed", "node2", 137)
    assert first["last_step"] - second["from_step"] <= SAVE_STEPS
    assert run.left() == []


def test_rank_hangs_and_is_retried(drill: MakeDrill) -> None:
    run = drill(steps=60, sections={"launch": {"retries": 1, "stall": 4}})
    run.start()
    run.until_step(12)
    run.hurt()
    run.order(1, "hang")
    run.ends(0, "does a rank hang?", "retry 1 of 1", f"SUCCEEDED: {run.run.name}, 60 steps", within=90)
    first, second = run.manifest["attempts"]
    assert first["reason"] == "collective_timeout"
    assert first["last_step"] - second["from_step"] <= SAVE_STEPS
    assert run.left() == []


def test_job_error_is_not_retried(drill: MakeDrill) -> None:
    run = drill(sections={"launch": {"retries": 3}})
    run.start()
    run.until_step(7)
    run.hurt()
    run.order(1, "raise no such row")
    told = ("ValueError: no such row", "an error of the job is not retried")
    run.ends(1, *told, within=15)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS


def test_node_lost_and_replaced_by_a_spare(own_drill: MakeDrill) -> None:
    run = own_drill(lab={"count": 3}, steps=60, sections={"launch": {"retries": 1, "spares": ["node3"]}})
    lost = run.lab.nodes[1]
    run.start()
    run.until_step(12)
    run.hurt()
    run.lab.cut(lost)
    run.lab.crash(lost)
    run.ends(0, "node3 in the place of node2", f"SUCCEEDED: {run.run.name}, 60 steps", within=150)
    first, second = run.manifest["attempts"]
    assert (first["reason"], first["lost"], second["nodes"]) == ("node_lost", ["node2"], ["node1", "node3"])
    assert first["last_step"] - second["from_step"] <= SAVE_STEPS
    run.lab.restart(lost)
    assert run.left() == []


def test_node_rebooted_and_retried(own_drill: MakeDrill) -> None:
    run = own_drill(steps=60, sections={"launch": {"retries": 1}})
    run.start()
    run.until_step(12)
    run.hurt()
    run.lab.restart(run.lab.nodes[1])
    run.ends(0, "retry 1 of 1", f"SUCCEEDED: {run.run.name}, 60 steps", within=150)
    first, second = run.manifest["attempts"]
    assert (first["reason"], second["nodes"]) == ("node_lost", ["node1", "node2"])
    assert first["last_step"] - second["from_step"] <= SAVE_STEPS
    assert run.left() == []
