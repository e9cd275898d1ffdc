"""Checkpoints between nodes: what a node tells is not believed, nothing half-done is left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llmctl.errors import NodeError
from llmctl.launch.checkpoints import bring, held
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport

CHECKOUT = Path(__file__).resolve().parents[2]


def made(folder: Path, step: int, **contents: str) -> Job:
    """A run folder with one good checkpoint."""
    checkpoint = folder / "output" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name, text in contents.items():
        (checkpoint / name).write_text(text)
    sizes = {name: len(text) for name, text in contents.items()}
    marker = {"step": step, "world_size": 2, "sizes": sizes}
    (checkpoint / "llmctl_checkpoint.json").write_text(json.dumps(marker))
    (folder / "enter.sh").write_text(
        f"echo a greeting\nLLMCTL_PYTHON={sys.executable}\nexport PYTHONPATH={CHECKOUT}/engine\n"
    )
    return Job(run_id="r-1", run_dir=str(folder), nodes=("a",), python=sys.executable, shell="sh")


def test_only_good_checkpoints_are_listed(tmp_path: Path) -> None:
    job = made(tmp_path, 5, state="12345", more="x")
    (tmp_path / "output" / "checkpoint-10").mkdir()
    transports = {"a": LocalTransport(Node(name="a"))}
    (outcome,) = held(job, transports, ["a"])
    assert outcome.value is not None
    assert {step: (own.world_size, own.files) for step, own in outcome.value.items()} == {5: (2, ("more", "state"))}
    (tmp_path / "output" / "checkpoint-5" / "state").write_text("123")
    assert held(job, transports, ["a"])[0].value == {}
    nowhere = Job(run_id="r-1", run_dir=str(tmp_path / "none"), nodes=("a",), python="python3", shell="sh")
    assert held(nowhere, transports, ["a"])[0].value == {}
    (tmp_path / "enter.sh").write_text("LLMCTL_PYTHON=/no/such/python\n")
    assert "cannot be listed" in str(held(job, transports, ["a"])[0].error)


def test_a_file_outside_of_a_checkpoint_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    job = made(tmp_path, 5, state="12345")
    here = LocalTransport(Node(name="a"))
    told: list[str] = []
    for name in ("../../../etc/passwd", "/etc/passwd"):
        with pytest.raises(NodeError, match="names a file outside"):
            bring(job, 5, ["state", name], here, here, through=tmp_path, tell=told.append)
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["checkpoint-5"]
    assert not list(tmp_path.glob(".checkpoint-*"))
