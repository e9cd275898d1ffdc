"""What may happen to the disk of a node's working folder."""

from __future__ import annotations

from tests.faults.harness import Drill
from tests.lab import LabNode


def small_disk(run: Drill, node: LabNode, size: str) -> None:
    """Give the node's working folder a disk of its own."""
    made = run.lab.exec(node, f"mkdir -p {node.workdir} && mount -t tmpfs -o size={size} small {node.workdir}")
    assert made.ok, made.stderr


def fill(run: Drill, node: LabNode) -> None:
    """Leave not a byte free in the node's working folder."""
    run.lab.exec(node, f"dd if=/dev/zero of={node.workdir}/filler bs=4k; dd if=/dev/zero of={node.workdir}/rest bs=1")


def clear(run: Drill, node: LabNode) -> None:
    """Make room again."""
    run.lab.exec(node, f"rm -f {node.workdir}/filler {node.workdir}/rest")


def read_only(run: Drill, node: LabNode) -> None:
    """Let nothing be written in the node's working folder any more."""
    folder = node.workdir
    made = run.lab.exec(
        node, f"mkdir -p {folder} && mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
    )
    assert made.ok, made.stderr
