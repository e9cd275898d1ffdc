"""Several runs on the same nodes."""

from __future__ import annotations

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import MakeDrill
from tests.faults.harness import SAVE_STEPS, until
from tests.workflows.jobs import status

pytestmark = pytest.mark.lab


def test_two_runs_and_one_is_cancelled(drill: MakeDrill) -> None:
    one, two = drill(name="one"), drill(name="two")
    one.start()
    two.start()
    one.until_step(7)
    two.until_step(7)
    one.hurt()
    llmctl("cancel", one.run, env=one.lab.env, code=0)
    one.ends(130, f"{one.run.name} was cancelled", within=15)
    assert one.left_processes() == []
    assert one.lost_steps() == 0
    two.until_step(max(two.records()) + 10)
    assert status(two.lab, two.run)["state"] == "RUNNING"
    two.hurt()
    llmctl("cancel", two.run, env=two.lab.env, code=0)
    two.ends(130, within=30)
    assert two.left() == []


def test_third_run_on_busy_devices(drill: MakeDrill) -> None:
    """Two runs hold a device each; the third wants one of them."""
    sections = {"launch": {"when_busy": "refuse"}}
    one = drill(name="one", sections={**sections, "cluster": {"devices": [0]}})
    two = drill(name="two", sections={**sections, "cluster": {"devices": [1]}})
    three = drill(name="three", sections={**sections, "cluster": {"devices": [1]}})
    one.start()
    two.start()
    one.until_step(3)
    two.until_step(3)
    three.hurt()
    three.start()
    three.ends(3, f"cpu-1: run {two.run.name}", "launch.when_busy=wait", within=30)
    assert not three.runs.exists() or list(three.runs.iterdir()) == []
    for run in (one, two):
        assert status(run.lab, run.run)["state"] == "RUNNING"
        run.hurt()
        llmctl("cancel", run.run, env=run.lab.env, code=0)
        run.ends(130, within=60)
        assert run.left() == []


def test_third_run_waits_for_its_devices(drill: MakeDrill) -> None:
    one = drill(name="one", sections={"launch": {"when_busy": "refuse"}})
    two = drill(name="two", steps=10, sections={"launch": {"when_busy": "wait"}})
    one.start()
    one.until_step(3)
    two.start()
    until("it waits", lambda: one.run.name in two.text, 60)
    one.hurt()
    two.hurt()
    llmctl("cancel", one.run, env=one.lab.env, code=0)
    one.ends(130, within=30)
    two.ends(0, ", 10 steps", within=60)
    assert one.left() == []
    assert two.left() == []


def test_rank_dies_beside_another_run(drill: MakeDrill) -> None:
    one, two = drill(name="one"), drill(name="two")
    one.start()
    two.start()
    one.until_step(7)
    two.until_step(7)
    one.hurt()
    one.order(1, "signal 9")
    one.ends(1, "FAILED first: node2 rank 1 (exit code 137)", within=15)
    assert one.left_processes() == []
    assert one.lost_steps() <= SAVE_STEPS
    two.until_step(max(two.records()) + 10)
    two.hurt()
    llmctl("cancel", two.run, env=two.lab.env, code=0)
    two.ends(130, within=30)
    assert two.left() == []
    assert two.lost_steps() == 0
