"""What is brought back from a node."""

from __future__ import annotations

from pathlib import Path

from llmctl.launch.collect import collect
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import CommandResult, Transport
from llmctl.run.folder import RunFolder


class Liar(LocalTransport):
    """A node that names files elsewhere."""

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        return CommandResult(0, "logs/a/rank0.log\n/etc/passwd\nlogs/a/../../x.log\noutput/deep/x.json\n", "")


def job(folder: Path) -> Job:
    (folder / "logs/a").mkdir(parents=True)
    (folder / "logs/a/rank0.log").write_text("one\n")
    (folder / "output/checkpoint-1").mkdir(parents=True)
    for name in ("steps.jsonl", "model.safetensors", "checkpoint-1/config.json"):
        (folder / "output" / name).write_text("{}")
    return Job(run_id="r", run_dir=str(folder), nodes=("a",), python="python3", shell="sh")


def collected(folder: Path, transport: Transport) -> set[str]:
    root = folder / "here"
    (outcome,) = collect(job(folder / "there 'x'"), RunFolder(root), {"a": transport})
    assert outcome.error is None
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_logs_and_records_come_and_weights_stay(tmp_path: Path) -> None:
    assert collected(tmp_path, LocalTransport(Node(name="a"))) == {"logs/a/rank0.log", "output/steps.jsonl"}


def test_a_node_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    assert collected(tmp_path, Liar(Node(name="a"))) == {"logs/a/rank0.log"}
