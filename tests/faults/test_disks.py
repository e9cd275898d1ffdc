"""Faults of the nodes' disks."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeDrill
from tests.faults.disks import clear, fill, read_only, small_disk
from tests.faults.harness import SAVE_STEPS

pytestmark = pytest.mark.lab


def test_disk_full_before_the_start(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    small_disk(run, node, "64k")
    run.start()
    run.hurt()
    run.ends(3, "disk.workdir.wrong", "node2", "--allow-drift disk.workdir.wrong", within=60)
    assert not run.runs.exists() or list(run.runs.iterdir()) == []
    assert run.lab.exec(node, f"ls {node.workdir}").stdout == ""


def test_disk_full_while_staging(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    small_disk(run, node, "64k")
    run.start("--allow-drift", "disk.workdir.wrong")
    run.hurt()
    run.ends(5, "1 of 2 nodes failed; nothing was started", f"MiB are free on {node.workdir}", within=60)
    assert list(run.runs.iterdir()) == []
    for each in run.lab.nodes:
        assert run.lab.exec(each, f"ls {each.workdir}/runs; find {each.workdir} -name '*.partial'").stdout == ""


def test_disk_full_at_a_checkpoint(own_drill: MakeDrill) -> None:
    run = own_drill(sections={"cluster": {"env": {"SMALLRANK_PAYLOAD": 2_000_000}}})
    node = run.lab.nodes[1]
    small_disk(run, node, "24m")
    run.start("--allow-drift", "disk.workdir.wrong")
    run.until_step(7)
    run.hurt()
    fill(run, node)
    run.ends(1, "FAILED first: node2 rank 1", "No space left on device", within=20)
    clear(run, node)
    assert run.left_processes() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()
    assert run.left() == []


def test_disk_full_at_log_writing(own_drill: MakeDrill) -> None:
    run = own_drill(sections={"train": {"save_steps": 0}})
    node = run.lab.nodes[0]
    small_disk(run, node, "24m")
    run.start("--allow-drift", "disk.workdir.wrong")
    run.until_step(7)
    run.hurt()
    fill(run, node)
    run.ends(1, "FAILED first: node1", "No space left on device", within=20)
    assert run.left_processes() == []
    clear(run, node)
    run.continues()


def test_workdir_read_only(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    made = run.lab.exec(
        node,
        f"mkdir -p {node.workdir}; mount --bind {node.workdir} {node.workdir}; mount -o remount,ro,bind {node.workdir}",
    )
    assert made.ok, made.stderr
    run.start()
    run.hurt()
    run.ends(3, "disk.workdir.writable.wrong", "node2", "Read-only file system", "cluster.workdir=", within=60)
    assert not run.runs.exists() or list(run.runs.iterdir()) == []


def test_workdir_turns_read_only(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    run.start()
    run.until_step(7)
    run.hurt()
    read_only(run, node)
    run.ends(1, "FAILED first: node2", "Read-only file system", within=20)
    assert run.left_processes() == []
