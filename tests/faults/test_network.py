"""Faults of the network: cables, sshd, slow and lossy links."""

from __future__ import annotations

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import MakeDrill
from tests.faults.harness import SAVE_STEPS, Drill, until

pytestmark = pytest.mark.lab

SSHD = "$(command -v sshd) -f /etc/ssh/lab_config -E /var/log/sshd.log"
STOP_SSHD = "kill $(cat /run/sshd.pid); pkill -f '[s]shd: root@'; true"


def cancelled_after_all(run: Drill) -> None:
    """Once every node can be reached again, `cancel` finds what was out of reach."""
    llmctl("cancel", run.run, env=run.lab.env, code=(0, 2), timeout=60)
    until("nothing is left", lambda: run.left() == [], 15)


def test_cut_while_checking(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    run.hold(node, "uname", "-m")
    run.start()
    run.held(node)
    run.hurt()
    run.lab.cut(node)
    run.ends(5, "node2", within=60)
    assert not run.runs.exists() or list(run.runs.iterdir()) == []
    assert run.lab.exec(run.lab.nodes[0], f"ls {node.workdir}/runs").stdout == ""


def test_cut_while_staging(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    run.hold(node, "mkdir", "/runs/drill")
    run.start()
    run.held(node)
    run.hurt()
    run.lab.cut(node)
    run.ends(5, "node2", "nothing was started", within=90)
    assert list(run.runs.iterdir()) == []
    assert run.lab.exec(run.lab.nodes[0], f"ls {node.workdir}/runs").stdout == ""


def test_cut_while_training(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    run.start()
    run.until_step(7)
    run.hurt()
    run.lab.cut(node)
    run.ends(5, "no answer from node2", f"{run.run.name} lost node2", within=75)
    assert run.left(run.lab.nodes[0]) == []
    run.lab.join(node)
    cancelled_after_all(run)
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_cut_for_a_moment(own_drill: MakeDrill) -> None:
    run = own_drill(steps=100)
    node = run.lab.nodes[1]
    run.start()
    run.until_step(7)
    run.hurt()
    run.lab.cut(node)
    until("it was noticed", lambda: "node2 does not answer" in run.text, 30)
    run.lab.join(node)
    run.ends(0, f"SUCCEEDED: {run.run.name}, 100 steps", within=90)
    assert run.left() == []
    assert run.lost_steps() == 0


def test_every_node_cut_for_longer_than_patience(own_drill: MakeDrill) -> None:
    run = own_drill(sections={"launch": {"patience": 10}})
    run.start()
    run.until_step(7)
    run.hurt()
    for node in run.lab.nodes:
        run.lab.cut(node)
    run.ends(5, "no node answers", "launch.patience", f"{run.run.name} lost node1, node2", within=75)
    assert run.manifest["state"] == "LOST"
    for node in run.lab.nodes:
        run.lab.join(node)
    cancelled_after_all(run)
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_cut_while_collecting(own_drill: MakeDrill) -> None:
    run = own_drill(steps=10)
    node = run.lab.nodes[1]
    run.hold(node, "find", "logs/node2")
    run.start()
    run.held(node)
    run.hurt()
    run.lab.cut(node)
    run.ends(0, "node2", f"SUCCEEDED: {run.run.name}, 10 steps", within=90)
    run.lab.join(node)
    run.release(node, "find")
    until("nothing is left", lambda: run.left() == [], 15)
    assert run.lost_steps() == 0


def test_sshd_stopped(own_drill: MakeDrill) -> None:
    """The node cannot be asked any more, but its steps show that it lives."""
    run = own_drill(steps=450)
    node = run.lab.nodes[1]
    run.start()
    run.until_step(7)
    run.hurt()
    run.lab.exec(node, STOP_SSHD)
    until("it was noticed", lambda: "node2 does not answer" in run.text, 30)
    run.until_step(380, 90)
    run.lab.exec(node, SSHD)
    run.ends(0, f"SUCCEEDED: {run.run.name}, 450 steps", within=150)
    assert run.left() == []
    assert run.lost_steps() == 0


def test_sshd_restarted(own_drill: MakeDrill) -> None:
    run = own_drill(steps=120)
    node = run.lab.nodes[1]
    run.start()
    run.until_step(7)
    run.hurt()
    run.lab.exec(node, f"{STOP_SSHD}; sleep 1; {SSHD}")
    run.ends(0, f"SUCCEEDED: {run.run.name}, 120 steps", within=60)
    assert run.left() == []
    assert run.lost_steps() == 0


def test_slow_and_lossy_link(own_drill: MakeDrill) -> None:
    run = own_drill(steps=12)
    node = run.lab.nodes[1]
    run.hurt()
    run.lab.slow(node, delay_ms=150, loss=0.02)  # there and back: 300 ms
    run.start()
    run.ends(0, "SUCCEEDED: drill-", ", 12 steps", within=150)
    assert run.left() == []
    assert run.lost_steps() == 0
