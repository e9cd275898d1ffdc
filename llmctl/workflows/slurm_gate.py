"""The check of nodes that only Slurm gives: a short allocation of its own, in which the probe is a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmctl.errors import NodeError
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node
from llmctl.remote.transport import CommandResult, Transport
from llmctl.render.slurm import allocation
from llmctl.workflows.render import Draft

AT_ONCE = 20
"""Seconds in which Slurm has to give the nodes; they are not waited for in its queue."""
MINUTES = 10


@dataclass
class Step:
    """A Transport that runs commands on an allocated node; no files go this way."""

    node: Node
    login: Transport
    number: int
    host: str

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        """Run `command` with the node's sh."""
        step = f"srun --jobid={self.number} --overlap --nodes=1 --ntasks=1 --nodelist={sh_quote(self.host)} --quiet"
        return self.login.run(f"{step} sh -c {sh_quote(command)}", stdin=stdin, timeout=timeout)

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:
        """Write files where all nodes see them."""
        self.login.put(files, mode=mode)

    def get(self, remote: str, local: Path) -> None:
        """Copy one file that all nodes see."""
        self.login.get(remote, local)

    def close(self) -> None:
        """The connection is the login machine's."""


@contextmanager
def allocated(
    planned: Draft, transports: Mapping[str, Transport], tell: Callable[[str], None]
) -> Iterator[dict[str, Transport]]:
    """The run's nodes as steps of a short allocation, which ends with the block; {} where Slurm does not give them at
    once, which is told. Raises NodeError when Slurm refuses what the recipe asks for."""
    login = transports[planned.nodes[0].name]
    options = " ".join(map(sh_quote, [*allocation(planned.plan), "--ntasks-per-node=1"]))
    name = sh_quote(f"{planned.plan.run_id}-check")
    try:
        made = login.run(
            f"salloc --no-shell --immediate={AT_ONCE} --time={MINUTES} --job-name={name} {options}",
            timeout=AT_ONCE + 60,
        )
    except BaseException:  # broken off, or too slow: what Slurm gave meanwhile would be held for all of its time
        login.run(f"scancel --name={name}")
        raise
    told = made.stdout + made.stderr
    number = next((word for line in told.splitlines() if "Granted" in line for word in line.split()[-1:]), "")
    if not (made.ok and number.isdigit()):
        why = next((line.partition("error: ")[2] for line in told.splitlines() if "error: " in line), told.strip())
        if any(words in told for words in ("nodes are busy", "Immediate", "immediate", "Resources")):
            tell(f"the nodes are not free now, so they were not checked: {why}")
            yield {}
            return
        raise NodeError("Slurm does not give the nodes", where="launch.slurm", why=why, hint="sinfo; squeue")
    try:
        hosts = login.run(f'scontrol show hostnames "$(squeue -h -j {number} -o %N)"').stdout.split()
        names = {node.name for node in planned.nodes}
        chosen = not names <= set(hosts)
        if chosen:
            tell(f"Slurm gives {', '.join(hosts)} for the check; the job itself may get others")
        pairs = zip(planned.nodes, hosts, strict=True) if chosen else ((node, node.name) for node in planned.nodes)
        yield {node.name: Step(node, login, int(number), host) for node, host in pairs}
    finally:
        login.run(f"scancel {number}")
