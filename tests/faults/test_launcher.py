"""Faults of the launcher's own process, and of those who use the same nodes."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import MakeDrill
from tests.faults.harness import SAVE_STEPS, stretch, until
from tests.workflows.jobs import status

pytestmark = pytest.mark.lab


def test_llmctl_killed_and_attached_again(drill: MakeDrill) -> None:
    run = drill(steps=120)
    started = run.start()
    run.until_step(7)
    run.hurt()
    started.process.kill()
    started.process.wait()
    done = llmctl("attach", run.run, env=run.lab.env, code=0, timeout=90)
    assert f"SUCCEEDED: {run.run.name}, 120 steps" in done.stdout
    assert "[node1 rank0] step 120/120" in done.stdout
    assert run.left() == []
    assert run.lost_steps() == 0
    assert run.manifest["state"] == "SUCCEEDED"


def test_llmctl_killed_and_a_rank_after_it(drill: MakeDrill) -> None:
    """Nobody watches when the rank dies; who asks next is told and ends the rest."""
    run = drill()
    started = run.start()
    run.until_step(7)
    started.process.kill()
    started.process.wait()
    run.hurt()
    run.order(1, "signal 9")
    until("the node has seen it", lambda: not run.pids(run.lab.nodes[1], "."))
    done = llmctl("attach", run.run, env=run.lab.env, code=1, timeout=60)
    assert "FAILED first: node2 rank 1 (exit code 137): ended by signal 9" in done.stderr
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_keeper_killed_and_attached_again(drill: MakeDrill) -> None:
    run = drill(steps=120)
    run.detach()
    run.until_step(7)
    run.hurt()
    (keeper,) = run.keepers()
    os.kill(keeper, signal.SIGKILL)
    done = llmctl("attach", run.run, env=run.lab.env, code=0, timeout=90)
    assert f"SUCCEEDED: {run.run.name}, 120 steps" in done.stdout
    assert run.left() == []
    assert run.lost_steps() == 0


def test_launcher_asleep_and_its_connections_gone(drill: MakeDrill) -> None:
    """As a laptop that was shut for longer than a node may be silent, and came back with another address."""
    run = drill(steps=600)
    started = run.start()
    run.until_step(7)
    run.hurt()
    os.kill(started.process.pid, signal.SIGSTOP)
    for node in run.lab.nodes:
        run.lab.exec(node, "pkill -f 'sshd: root@notty'")
    run.until_step(max(run.records()) + 320, 90)
    os.kill(started.process.pid, signal.SIGCONT)
    run.ends(0, f"SUCCEEDED: {run.run.name}, 600 steps", within=150)
    assert run.left() == []
    assert run.lost_steps() == 0


def test_ctrl_c_and_then_cancel(drill: MakeDrill) -> None:
    run = drill()
    started = run.start()
    run.until_step(7)
    run.hurt()
    started.interrupt()
    run.ends(0, "the run goes on without you", f"llmctl cancel {run.run.name}", within=15)
    step = max(run.records())
    run.until_goes_on(step + 3)
    assert status(run.lab, run.run)["state"] == "RUNNING"
    llmctl("cancel", run.run, env=run.lab.env, code=0)
    until("the keeper has ended", lambda: run.left() == [], 15)
    assert run.lost_steps() == 0


def test_cancel_while_checking(own_drill: MakeDrill) -> None:
    run = own_drill()
    run.hold(run.lab.nodes[1], "uname", "-m")
    started = run.start()
    run.held(run.lab.nodes[1])
    run.hurt()
    started.interrupt()
    run.ends(130, "stopped before the start; nothing of it is left running", within=15)
    run.release(run.lab.nodes[1], "uname")
    assert not run.runs.exists() or list(run.runs.iterdir()) == []
    assert run.lab.exec(run.lab.nodes[0], f"ls {run.lab.nodes[0].workdir}/runs").stdout == ""


def test_cancel_while_staging(own_drill: MakeDrill) -> None:
    run = own_drill()
    run.hold(run.lab.nodes[1], "mkdir", "/runs/drill")
    started = run.start()
    run.held(run.lab.nodes[1])
    run.hurt()
    started.interrupt()
    run.release(run.lab.nodes[1], "mkdir")
    run.ends(130, "stopped before the start; nothing of it is left running", within=15)
    assert list(run.runs.iterdir()) == []
    for node in run.lab.nodes:
        assert run.lab.exec(node, f"ls {node.workdir}/runs").stdout == ""


def test_cancel_while_running(drill: MakeDrill) -> None:
    run = drill()
    run.start()
    run.until_step(7)
    before = stretch()
    run.hurt()
    done = llmctl("cancel", run.run, env=run.lab.env, code=0)
    assert f"cancelled {run.run.name}" in done.stdout
    run.ends(130, f"{run.run.name} was cancelled", within=10, stretched=max(before, stretch()))
    assert run.left() == []
    assert run.lost_steps() == 0, "a rank that is asked to end saves first"
    run.continues()


def test_cancel_of_a_rank_that_hangs(drill: MakeDrill) -> None:
    run = drill()
    run.start()
    run.until_step(7)
    run.order(1, "hang")
    until("it hangs", lambda: "order: hang" in run.text)
    before = stretch()
    run.hurt()
    llmctl("cancel", run.run, env=run.lab.env, code=0)
    run.ends(130, f"{run.run.name} was cancelled", within=20, stretched=max(before, stretch()))
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_cancel_while_collecting(own_drill: MakeDrill) -> None:
    run = own_drill(steps=10)
    run.hold(run.lab.nodes[1], "find", "logs/node2")
    started = run.start()
    run.held(run.lab.nodes[1])
    run.hurt()
    started.interrupt()
    run.release(run.lab.nodes[1], "find")
    run.ends(0, "the run goes on without you", within=20)
    until("it is collected", lambda: run.left() == [], 30)
    assert run.lost_steps() == 0
    done = llmctl("status", run.run, env=run.lab.env, code=0)
    assert f"{run.run.name}: SUCCEEDED" in done.stdout
    assert (run.run / "logs" / "node2" / "rank1.log").is_file()
