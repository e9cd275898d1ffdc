"""Faults of processes on the nodes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import MakeDrill
from tests.faults.harness import SAVE_STEPS, Drill, until

pytestmark = pytest.mark.lab


def dies(run: Drill, signum: int) -> None:
    """A rank dies of a signal, and the run is taken up again."""
    run.start()
    run.until_step(7)
    run.hurt()
    run.order(1, f"signal {signum}")
    run.ends(1, f"FAILED first: node2 rank 1 (exit code {128 + signum}): ended by signal {signum}", within=15)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_rank_killed(drill: MakeDrill) -> None:
    dies(drill(), 9)


def test_rank_segfaults(drill: MakeDrill) -> None:
    dies(drill(), 11)


def killed_under(run: Drill) -> None:
    """DeepSpeed's launchers do not tell which rank it was."""
    run.start()
    run.until_step(7)
    run.hurt()
    run.order(1, "signal 9")
    run.ends(1, "FAILED first: node", within=15)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_rank_killed_under_deepspeed(drill: MakeDrill) -> None:
    killed_under(drill(sections={"launch": {"launcher": "deepspeed"}, "deepspeed": {"stage": 2}}))


def test_rank_killed_under_pdsh(drill: MakeDrill) -> None:
    launch = {"backend": "pdsh", "launcher": "deepspeed"}
    killed_under(drill(sections={"launch": launch, "deepspeed": {"stage": 2}}))


def test_rank_raises(drill: MakeDrill) -> None:
    run = drill()
    run.start()
    run.until_step(7)
    run.hurt()
    run.order(1, "raise the data is gone")
    run.ends(1, "FAILED first: node2 rank 1 (exit code 1): ValueError: the data is gone", "in _obey", within=15)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS


def test_rank_hangs(drill: MakeDrill) -> None:
    run = drill(sections={"cluster": {"env": {"SMALLRANK_TIMEOUT": 5}}})
    run.start()
    run.until_step(7)
    run.hurt()
    run.order(1, "hang")
    run.ends(1, "Timed out waiting 5000ms", within=5 + 15 + 10)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_rank_prints_100_mb(drill: MakeDrill) -> None:
    run = drill(steps=60)
    run.start()
    run.until_step(3)
    run.hurt()
    run.order(1, "print 100000000")
    run.ends(0, f"SUCCEEDED: {run.run.name}, 60 steps", within=60)
    assert run.left() == []
    assert run.lost_steps() == 0


def test_rank_leaves_a_child_behind(drill: MakeDrill) -> None:
    run = drill()
    run.start()
    run.until_step(7)
    run.order(1, "escape")
    until("the child is there", lambda: run.pids(run.lab.nodes[1], "sleep [8]6400"))
    run.hurt()
    run.order(0, "exit 3")
    run.ends(1, "FAILED first: node1 rank 0 (exit code 3): ended without a word", within=15)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS


def test_supervisor_killed(drill: MakeDrill) -> None:
    run = drill()
    run.start()
    run.until_step(7)
    run.hurt()
    run.kill(run.lab.nodes[1], run.supervisor(run.lab.nodes[1]))
    run.ends(5, "the supervisor is gone", f"{run.run.name} lost node2", within=15)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_agent_killed(drill: MakeDrill) -> None:
    run = drill()
    run.start()
    run.until_step(7)
    run.hurt()
    run.kill(run.lab.nodes[1], run.pids(run.lab.nodes[1], "torch.distributed.[r]un")[0])
    run.ends(1, "FAILED first: node2 (exit code 137): ended with exit code 137", within=15)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_pid_reused(drill: MakeDrill) -> None:
    """The dead supervisor's pid goes to a stranger, who is neither taken for it nor ended."""
    run = drill()
    run.detach()
    node = run.lab.nodes[1]
    run.until_step(3)
    pid = run.supervisor(node)
    (keeper,) = run.keepers()
    os.kill(keeper, signal.SIGKILL)
    run.kill(node, pid)
    again = f"for i in $(seq 50); do echo $(({pid} - 1)) > /proc/sys/kernel/ns_last_pid; sleep 3600 & [ $! = {pid} ] &&"
    run.lab.exec(node, f"setsid sh -c '{again} exit 0; kill $!; done; exit 1' >/dev/null 2>&1")
    stranger = f"tr '\\0' ' ' < /proc/{pid}/cmdline"
    until("the stranger sleeps", lambda: run.lab.exec(node, stranger).stdout == "sleep 3600 ")
    run.hurt()
    told = json.loads(llmctl("status", run.run, "--json", env=run.lab.env, timeout=30).stdout)
    assert {entry["node"]: entry["state"] for entry in told["nodes"]}["node2"] == "LOST"
    assert told["failure"]["message"] == "the supervisor is gone"
    llmctl("cancel", run.run, env=run.lab.env, timeout=30)
    assert run.left() == []
    assert run.lab.exec(node, stranger).stdout == "sleep 3600 "
    run.lab.exec(node, f"kill {pid}")
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()
