"""Which checkpoints lie on the nodes, and how one comes to a node that has none."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from llmctl.errors import NodeError
from llmctl.launch.supervised import Job
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.transport import Transport
from llmctl.run.restore import Held

_MARK = "LLMCTL-CHECKPOINTS "
_READING = 1800.0
"""Seconds for a node to look at its checkpoints; a sleepy shared file system takes its time."""


def held(job: Job, transports: Mapping[str, Transport], nodes: Sequence[str]) -> list[Outcome[str, dict[int, Held]]]:
    """The good checkpoints of a run by step, on each of `nodes`; none where there is no run folder. The engine of the
    run itself says which are good."""

    def one(node: str) -> dict[int, Held]:
        script = (
            f"cd {sh_quote(job.run_dir)} 2>/dev/null || {{ echo; echo '{_MARK}{{}}'; exit 0; }}; "
            f"NODE_RANK=0; . ./enter.sh; echo; printf %s '{_MARK}'; "
            'exec "$LLMCTL_PYTHON" -m llmctl_engine.checkpoint output'
        )
        result = transports[node].run(f"exec {job.shell} -c {sh_quote(script)}", timeout=_READING)
        _, marker, told = result.stdout.rpartition("\n" + _MARK)
        if not marker or not result.ok:
            why = (result.stderr.strip().splitlines() or [f"exit code {result.code}"])[-1]
            raise NodeError("its checkpoints cannot be listed", where=node, why=why)
        return {
            int(step): Held(world_size=marker["world_size"], files=tuple(sorted(marker["sizes"])))
            for step, marker in json.loads(told).items()
        }

    return fan_out(nodes, one)


def bring(
    job: Job,
    step: int,
    files: Sequence[str],
    source: Transport,
    target: Transport,
    *,
    through: Path,
    tell: Callable[[str], None],
) -> None:
    """Copy a checkpoint with these files and its marker from one node to another, a file at a time by way of the folder
    `through` on this machine. Raises NodeError; nothing half-done is then left."""
    where = f"{job.run_dir}/output/checkpoint-{step}"
    aside = f"{where}.{job.run_id}.partial"
    names = [*files, "llmctl_checkpoint.json"]
    with tempfile.TemporaryDirectory(dir=through, prefix=".checkpoint-") as folder:
        try:
            for number, name in enumerate(dict.fromkeys(names), start=1):
                tell(
                    f"{target.node.name}: copying checkpoint-{step} of {source.node.name}, {number}/{len(names)} {name}"
                )
                local = Path(folder) / "file"
                source.get(f"{where}/{_inside(name, source)}", local)
                target.put({f"{aside}/{name}": local})
                local.unlink()
            moved = target.run(f"rm -rf {sh_quote(where)} && mv {sh_quote(aside)} {sh_quote(where)}", timeout=600)
            if not moved.ok:
                raise NodeError(
                    "the copy cannot be moved", where=f"{target.node.name}:{where}", why=moved.stderr.strip()
                )
        except NodeError:
            target.run(f"rm -rf {sh_quote(aside)}", timeout=600)
            raise


def _inside(name: str, source: Transport) -> str:
    """A file name that a node told, which is written to on another one: nothing but files below the checkpoint."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise NodeError("a checkpoint names a file outside of it", where=source.node.name, why=name)
    return name
