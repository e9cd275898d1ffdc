"""What is brought back from a node."""

from __future__ import annotations

from pathlib import Path

from llmctl.launch.collect import LARGEST, MOST_ROTATED, Collected, Listed, chosen, collect
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import CommandResult, Transport
from llmctl.run.folder import RunFolder


class Liar(LocalTransport):
    """A node that names files elsewhere."""

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        return CommandResult(
            0, "4 logs/a/rank0.log\n4 /etc/passwd\n4 logs/a/../../x.log\n2 output/deep/x.json\nx y\n4 logs/a/..\n", ""
        )


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


def test_what_was_rotated_away_comes_too(tmp_path: Path) -> None:
    there = job(tmp_path / "there")
    logs = tmp_path / "there/logs/a"
    for name in ("rank0.log.0-4", "launcher.log.10-20", "rank0.log.old", "rank0.log.1-x", ".rank0.log.0-4"):
        (logs / name).write_text("old\n")
    (outcome,) = collect(there, RunFolder(tmp_path / "here"), {"a": LocalTransport(Node(name="a"))})
    assert outcome.value is not None
    assert outcome.value.told("a", "/w") == ""
    assert {path.name for path in (tmp_path / "here/logs/a").iterdir()} == {
        "rank0.log", "rank0.log.0-4", "launcher.log.10-20",
    }  # fmt: skip


def test_what_is_too_large_stays_and_is_told_with_its_place() -> None:
    piece = LARGEST // 2
    pieces = [Listed(f"logs/a/rank0.log.{n}-{n + 1}", piece) for n in range(2 * MOST_ROTATED // piece)]
    huge, log = Listed("logs/a/rank1.log", LARGEST + 1), Listed("logs/a/rank0.log", LARGEST)
    come, left = chosen([*pieces, huge, log])
    assert come[0] == log, "what was written last comes in any case"
    assert sorted(come[1:], key=pieces.index) == pieces[len(pieces) // 2 :], "the newest pieces"
    assert left[0] == huge
    assert len(left) + len(come) == len(pieces) + 2
    told = Collected(files=len(come), left=tuple(left)).told("node1", "/w/runs/r")
    assert told.startswith("node1: too large to be collected, in /w/runs/r there: logs/a/rank1.log (67 MB), ")
    assert told.endswith(f" and {len(left) - 4} more")
