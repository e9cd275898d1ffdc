"""The backends: which nodes get a supervisor, and how a finished job is recognised. One class each, the same verbs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from llmctl.launch import supervised
from llmctl.launch.supervised import Job, NodeReport
from llmctl.remote.fanout import Outcome
from llmctl.remote.transport import Transport


class Backend(Protocol):
    """The five verbs. `transports` holds the open connections by node name; collecting is the same for all
    (launch/collect.py)."""

    def starters(self, job: Job) -> tuple[str, ...]:
        """The nodes on which `launch.sh` is started."""

    def submit(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, int]]: ...

    def status(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, NodeReport]]: ...

    def logs(self, job: Job, transport: Transport, offsets: Mapping[str, int]) -> NodeReport: ...

    def cancel(self, job: Job, transports: Mapping[str, Transport], grace: float) -> list[Outcome[str, int]]: ...

    def failure_in(self, line: str) -> str | None:
        """What a line of the launcher's own log tells of a failure elsewhere; None for any other line."""


class PerNode:
    """A supervisor on every node, each with its node's part (backends `local` and `ssh`)."""

    def starters(self, job: Job) -> tuple[str, ...]:
        """All nodes."""
        return job.nodes

    def submit(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, int]]:
        """Start the supervisors; each outcome is a pid."""
        return supervised.start(job, transports, self.starters(job))

    def status(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, NodeReport]]:
        """Every node's state."""
        return supervised.states(job, transports)

    def logs(self, job: Job, transport: Transport, offsets: Mapping[str, int]) -> NodeReport:
        """What a node's files hold behind `offsets`, with its state."""
        return supervised.poll(job, transport, offsets)

    def cancel(self, job: Job, transports: Mapping[str, Transport], grace: float) -> list[Outcome[str, int]]:
        """End the run's processes on all nodes, and nothing else."""
        return supervised.cancel(job, transports, grace)

    def failure_in(self, line: str) -> str | None:  # noqa: ARG002 - every node has a supervisor that tells it
        """Nothing: each node's supervisor tells its own failure."""
        return None


class Pdsh:
    """DeepSpeed's own way: one supervisor on the first node, DeepSpeed reaches the others through pdsh."""

    _FAILED = re.compile(r"pdsh@\S+: (\S+): ssh exited with exit code (\d+)")

    def starters(self, job: Job) -> tuple[str, ...]:
        """The first node."""
        return job.nodes[:1]

    def submit(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, int]]:
        """Start the first node's supervisor; the outcome is its pid."""
        return supervised.start(job, transports, self.starters(job))

    def status(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, NodeReport]]:
        """Every node's state; None on all but the first."""
        return supervised.states(job, transports)

    def logs(self, job: Job, transport: Transport, offsets: Mapping[str, int]) -> NodeReport:
        """What a node's files hold behind `offsets`, with its state."""
        return supervised.poll(job, transport, offsets)

    def cancel(self, job: Job, transports: Mapping[str, Transport], grace: float) -> list[Outcome[str, int]]:
        """End the run's processes on all nodes: pdsh itself would leave the remote ones."""
        return supervised.cancel(job, transports, grace)

    def failure_in(self, line: str) -> str | None:
        """pdsh waits for the other nodes when one has failed; its message is the first sign."""
        match = self._FAILED.search(line)
        return f"{match[1]} ended with exit code {match[2]}" if match else None


BACKENDS: dict[str, type[Any]] = {"local": PerNode, "ssh": PerNode, "pdsh": Pdsh}
