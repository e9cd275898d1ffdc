"""What the nodes of a run told last, kept in `seen.json` of its folder while it is followed or looked at."""

from __future__ import annotations

import time

from llmctl.launch.supervised import NodeReport
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.run.seen import NodeSeen, read_seen, remember

REMEMBER = 10.0
"""Seconds between two notes."""


class Memory:
    """Each node as it told last, here or to whoever asked before."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._seen = read_seen(folder)
        self._fresh: set[str] = set()
        """Nodes that told something since the last note."""
        self._kept: float | None = None

    def take(self, report: NodeReport, progress: Progress | None) -> None:
        """One node's answer. `progress`: where its own records stand, if it told new ones."""
        self._seen[report.node] = seen_of(report, progress, self._seen.get(report.node), time.time())
        self._fresh.add(report.node)

    def node(self, name: str) -> NodeSeen:
        """A node as it told last."""
        return self._seen.get(name, NodeSeen(node=name))

    def keep(self, *, now: bool = False) -> None:
        """Write down what is new, not too often unless it shall be `now`."""
        due = now or self._kept is None or time.monotonic() - self._kept > REMEMBER
        if due and self._fresh:
            self._kept = time.monotonic()
            remember(self._folder, {name: self._seen[name] for name in self._fresh})
            self._fresh.clear()


def seen_of(report: NodeReport, progress: Progress | None, before: NodeSeen | None, now: float) -> NodeSeen:
    """What is worth remembering of a node's answer. `progress`: where its own records stand, if it told new ones."""
    return NodeSeen(
        node=report.node,
        answered=now,
        state=report.state,
        exit_code=report.exit_code,
        heartbeat=report.heartbeat,
        heard=None if report.heartbeat is None else max(0.0, report.clock - report.heartbeat),
        step=progress.step if progress else before.step if before else None,
        loss=progress.loss if progress else before.loss if before else None,
        memory_mb=report.memory_mb,
        devices=report.devices,
    )
