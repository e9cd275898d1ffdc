"""Bring back what a person reads: logs, records, small JSON and pictures. Weights and checkpoints stay."""

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


def collect(job: Job, folder: RunFolder, transports: Mapping[str, Transport]) -> list[Outcome[str, int]]:
    """Copy each node's logs and the first node's output; each outcome is the number of files."""

    def one(node: str) -> int:
        names = _listing(job, transports[node], output=node == job.nodes[0])
        for name in names:
            transports[node].get(f"{job.run_dir}/{name}", folder.root / name)
        return len(names)

    return fan_out([node for node in job.nodes if node in transports], one)


def _listing(job: Job, transport: Transport, *, output: bool) -> list[str]:
    where = [f"logs/{transport.node.name}", *(["output"] if output else [])]
    found = transport.run(
        f'cd {sh_quote(job.run_dir)} && for d in {" ".join(map(sh_quote, where))}; do [ -d "$d" ] && '
        f'find "$d" -maxdepth 1 -type f -size -{LARGEST // 1024}k '
        "\\( -name '*.log' -o -name '*.json' -o -name '*.jsonl' -o -name '*.png' \\); done; true"
    )
    if not found.ok:
        raise NodeError("its files cannot be listed", where=transport.node.name, why=found.stderr.strip())
    # What a node names is written here: nothing but files right below the folders that were asked for.
    return [name for name in found.stdout.splitlines() if str(PurePosixPath(name).parent) in where]
