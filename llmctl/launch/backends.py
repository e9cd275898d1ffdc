"""The backends, by their name in a recipe: the same verbs for all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from llmctl.launch import supervised
from llmctl.launch.slurm import SlurmBackend
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

    def failure_in(self, line: str, /) -> str | None:
        """What a line of the launcher's own log tells of a failure elsewhere; None for any other line."""


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """Supervisors on the nodes, reached by whatever transport is given. They are started on every node, or on the
    first alone when that node's launcher reaches the others itself."""

    first_only: bool = False
    complaint: re.Pattern[str] | None = None
    """What the launcher writes when a process on another node has failed: groups node and exit code."""

    def starters(self, job: Job) -> tuple[str, ...]:
        """The nodes that get a supervisor."""
        return job.nodes[:1] if self.first_only else job.nodes

    def submit(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, int]]:
        """Start the supervisors; each outcome is a pid."""
        starters = self.starters(job)
        prepared = supervised.prepare(job, transports, [node for node in job.nodes if node not in starters])
        return [outcome for outcome in prepared if outcome.error] or supervised.start(job, transports, starters)

    def status(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, NodeReport]]:
        """Every node's state; None where no supervisor was started."""
        return supervised.states(job, transports)

    def logs(self, job: Job, transport: Transport, offsets: Mapping[str, int]) -> NodeReport:
        """What a node's files hold behind `offsets`, with its state."""
        return supervised.poll(job, transport, offsets)

    def cancel(self, job: Job, transports: Mapping[str, Transport], grace: float) -> list[Outcome[str, int]]:
        """End the run's processes on all nodes, and nothing else; pdsh itself would leave the remote ones."""
        return supervised.cancel(job, transports, grace)

    def failure_in(self, line: str) -> str | None:
        """What the launcher's complaint says; None for any other line."""
        match = self.complaint.search(line) if self.complaint else None
        return f"{match[1]} ended with exit code {match[2]}" if match else None


BACKENDS: dict[str, Backend] = {
    "local": Supervised(),
    "ssh": Supervised(),
    # pdsh waits for the other nodes when one has failed; its message is the first sign.
    "pdsh": Supervised(first_only=True, complaint=re.compile(r"pdsh@\S+: (\S+): ssh exited with exit code (\d+)")),
    "slurm": SlurmBackend(),
}
