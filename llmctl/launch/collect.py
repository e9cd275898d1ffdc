"""Bring back what a person reads: logs, records, small JSON and pictures; the final weights when asked for.
Checkpoints stay."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from llmctl.errors import NodeError
from llmctl.launch.supervised import Job
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.transport import Transport
from llmctl.run.folder import RunFolder

LARGEST = 64 * 1024 * 1024
"""Bytes; a larger file stays on its node."""
MOST_ROTATED = 512 * 1024 * 1024
"""Bytes of a node's logs that were rotated away; the oldest beyond them stay there."""
ROTATED = re.compile(r"\.log\.(\d+)-\d+$")
SMALL = (
    r"\( -name '*.log' -o -name '*.log.[0-9]*-[0-9]*' -o -name '*.json' -o -name '*.jsonl' -o -name '*.png' \) "
    "! -name '.*'"
)


@dataclass(frozen=True)
class Listed:
    """One file of the run folder."""

    name: str
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What came of one node."""

    files: int
    left: tuple[Listed, ...] = ()
    """What stays on the node, because there is too much of it."""

    def told(self, node: str, run_dir: str) -> str:
        """For people, what stays and where; empty when everything came."""
        if not self.left:
            return ""
        names = ", ".join(f"{each.name} ({each.size / 1e6:.0f} MB)" for each in self.left[:4])
        more = f" and {len(self.left) - 4} more" if len(self.left) > 4 else ""
        return f"{node}: too large to be collected, in {run_dir} there: {names}{more}"


def collect(
    job: Job, folder: RunFolder, transports: Mapping[str, Transport], *, weights: bool = False
) -> list[Outcome[str, Collected]]:
    """Copy each node's logs and the first node's output, with `weights` all files of that."""

    def one(node: str) -> Collected:
        transport = transports[node]
        come, left = chosen(_listing(job, transport, f"logs/{node}", SMALL))
        if node == job.nodes[0]:
            output = _listing(job, transport, "output", "" if weights else SMALL)
            more, large = (output, []) if weights else chosen(output)
            come, left = [*come, *more], [*left, *large]
        for each in come:
            transport.get(f"{job.run_dir}/{each.name}", folder.root / each.name)
        return Collected(files=len(come), left=tuple(left))

    return fan_out([node for node in job.nodes if node in transports], one)


def chosen(listed: Sequence[Listed]) -> tuple[list[Listed], list[Listed]]:
    """What comes, and what stays: files above LARGEST, and the oldest of what was rotated away beyond MOST_ROTATED."""
    come, left, room = [], [], MOST_ROTATED
    for each in sorted(listed, key=_begin, reverse=True):
        rotated = ROTATED.search(each.name)
        if each.size > LARGEST or (rotated and each.size > room):
            left.append(each)
            continue
        come.append(each)
        room -= each.size if rotated else 0
    return come, left


def _begin(each: Listed) -> int:
    """Where a piece of a log begins in the whole; what was not rotated comes before all pieces."""
    rotated = ROTATED.search(each.name)
    return int(rotated[1]) if rotated else 1 << 62


def _listing(job: Job, transport: Transport, where: str, which: str) -> list[Listed]:
    """The files right below one folder of the run that `find` takes for `which`."""
    place = sh_quote(where)
    find = f"find {place} -maxdepth 1 -type f {which} -exec stat -c '%s %n' {{}} +"
    found = transport.run(f"cd {sh_quote(job.run_dir)} && if [ -d {place} ]; then {find}; fi")
    if not found.ok:
        raise NodeError("its files cannot be listed", where=transport.node.name, why=found.stderr.strip())
    lines = [line.partition(" ") for line in found.stdout.splitlines()]
    # What a node names is written here: nothing but files right below the folder that was asked for.
    return [
        Listed(name, int(size))
        for size, _, name in lines
        if size.isdigit() and str(PurePosixPath(name).parent) == where and PurePosixPath(name).name != ".."
    ]
