"""Bring back what a person reads: logs, records, small JSON and pictures; the final weights when asked for.
Checkpoints stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from llmctl.errors import NodeError
from llmctl.launch.supervised import Job
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.transport import Transport
from llmctl.run.folder import RunFolder

LARGEST = 64 * 1024 * 1024
"""Bytes; a larger file stays on its node."""


def collect(
    job: Job, folder: RunFolder, transports: Mapping[str, Transport], *, weights: bool = False
) -> list[Outcome[str, int]]:
    """Copy each node's logs and the first node's output, with `weights` all files of that; each outcome is the number
    of files."""

    def one(node: str) -> int:
        transport = transports[node]
        names = _listing(job, transport, f"logs/{node}", _SMALL)
        if node == job.nodes[0]:
            names += _listing(job, transport, "output", "" if weights else _SMALL)
        for name in names:
            transports[node].get(f"{job.run_dir}/{name}", folder.root / name)
        return len(names)

    return fan_out([node for node in job.nodes if node in transports], one)


_SMALL = f"-size -{LARGEST // 1024}k \\( -name '*.log' -o -name '*.json' -o -name '*.jsonl' -o -name '*.png' \\)"


def _listing(job: Job, transport: Transport, where: str, which: str) -> list[str]:
    """The files right below one folder of the run that `find` takes for `which`."""
    place = sh_quote(where)
    found = transport.run(
        f"cd {sh_quote(job.run_dir)} && if [ -d {place} ]; then find {place} -maxdepth 1 -type f {which}; fi"
    )
    if not found.ok:
        raise NodeError("its files cannot be listed", where=transport.node.name, why=found.stderr.strip())
    # What a node names is written here: nothing but files right below the folder that was asked for.
    return [name for name in found.stdout.splitlines() if str(PurePosixPath(name).parent) == where]
