"""The same faults with the real engine and ZeRO-2: real collectives, checkpoints and launchers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import MakeDrill
from tests.faults.disks import clear, fill, small_disk
from tests.faults.harness import SAVE_STEPS, Drill, until

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.timeout(500), pytest.mark.xdist_group("engine")]

TOLD = 40
"""Seconds that it may take on a busy machine until a failure is told; 15 on one that is not."""
START = 180
"""Seconds that the engine may take to its first steps on a busy machine."""


def begun(run: Drill, *words: str) -> Drill:
    """Start the run and wait for its first checkpoint and two steps."""
    run.start(*words)
    run.until_step(SAVE_STEPS + 2, START)
    run.hurt()
    return run


def test_engine_rank_killed(drill: MakeDrill) -> None:
    run = begun(drill(engine=True))
    node = run.lab.nodes[1]
    run.kill(node, run.ranks(node)[0])
    run.ends(1, "FAILED first: node2 rank 1 (exit code 137): ended by signal 9", within=TOLD)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_engine_agent_killed(drill: MakeDrill) -> None:
    run = begun(drill(engine=True))
    node = run.lab.nodes[1]
    run.kill(node, run.pids(node, "torch.distributed.[r]un")[0])
    run.ends(1, "FAILED first: node2 (exit code 137): ended with exit code 137", within=TOLD)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS


def test_engine_cancelled(drill: MakeDrill) -> None:
    run = begun(drill(engine=True))
    llmctl("cancel", run.run, env=run.lab.env, code=0)
    run.ends(130, f"{run.run.name} was cancelled", within=TOLD)
    assert run.left() == []
    assert run.lost_steps() == 0
    run.continues()


def test_engine_node_lost_and_replaced_by_a_spare(own_drill: MakeDrill, tmp_path: Path) -> None:
    """On a shared folder, where the spare sees the checkpoints of the lost node."""
    shared = tmp_path / "shared"
    shared.mkdir()
    sections = {"launch": {"retries": 1, "spares": ["node3"]}, "cluster": {"workdir": str(shared)}}
    run = begun(own_drill(lab={"count": 3, "shared": shared}, engine=True, sections=sections))
    lost = run.lab.nodes[1]
    run.lab.cut(lost)
    run.lab.crash(lost)
    run.started.until("node3 in the place of node2", 90)  # type: ignore[union-attr]
    until("it goes on", lambda: goes_on(run), START)
    first, second = run.manifest["attempts"]
    assert (first["reason"], second["nodes"]) == ("node_lost", ["node1", "node3"])
    assert first["last_step"] - second["from_step"] <= SAVE_STEPS
    llmctl("cancel", run.run, env=run.lab.env, code=(0, 5), timeout=120)
    run.ends(130, within=300)
    run.lab.restart(lost)
    assert run.left_processes() == []


def goes_on(run: Drill) -> bool:
    """Whether the second attempt has made more steps than the first."""
    attempts = run.manifest["attempts"]
    return len(attempts) == 2 and max(run.records()) > attempts[0]["last_step"] + 2


def test_engine_network_cut(own_drill: MakeDrill) -> None:
    run = begun(own_drill(engine=True))
    node = run.lab.nodes[1]
    run.lab.cut(node)
    run.ends(5, "node2 does not answer", f"{run.run.name} lost node2", within=75)
    assert run.left(run.lab.nodes[0]) == []
    run.lab.join(node)
    llmctl("cancel", run.run, env=run.lab.env, code=(0, 2), timeout=60)
    until("nothing is left", lambda: run.left() == [], 15)
    assert run.lost_steps() <= SAVE_STEPS


def test_engine_disk_full_at_a_checkpoint(own_drill: MakeDrill) -> None:
    run = own_drill(engine=True)
    node = run.lab.nodes[1]
    small_disk(run, node, "64m")
    begun(run, "--allow-drift", "disk.workdir.wrong")
    fill(run, node)
    run.ends(1, "FAILED first: node2 rank 1", "No space left on device", within=TOLD)
    clear(run, node)
    assert run.left_processes() == []
    assert run.lost_steps() <= SAVE_STEPS
