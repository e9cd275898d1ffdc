"""From a recipe to a whole run on paper."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from llmctl.errors import UsageError
from llmctl.resources import data_dir
from llmctl.run.index import runs_folder
from llmctl.workflows.render import draft, write_files

ROWS = [{"instruction": "a", "output": "b"}] * 10


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """The shipped recipe beside data of this test's own."""
    recipe = Path(shutil.copy(data_dir("recipes") / "quickstart.yaml", tmp_path))
    data = tmp_path / "data" / "quickstart"
    (data / "reference").mkdir(parents=True)
    (data / "reference" / "steps.jsonl").write_text("")
    for name in ("instructions_en", "instructions_zh"):
        (data / f"{name}.json").write_text(json.dumps(ROWS))
    return recipe


def test_the_local_backend_uses_data_interpreter_and_engine_in_place(quickstart: Path, tmp_path: Path) -> None:
    made = draft(quickstart, runs=tmp_path / "my runs", run_id="q-1")
    engine = json.loads(made.files["engine.json"])
    assert engine["data"]["dir"] == str(tmp_path / "data" / "quickstart")
    assert engine["output_dir"] == str(tmp_path / "my runs" / "q-1" / "output")
    assert made.plan.python == sys.executable
    assert made.inputs.staged == {}
    assert made.plan.steps(made.inputs.samples) == 6  # 20 rows, 4 x 2 a step, 2 epochs
    assert made.inputs.reference == tmp_path / "data" / "quickstart" / "reference" / "steps.jsonl"
    assert [each.command for each in made.commands] == [f"sh '{tmp_path / 'my runs' / 'q-1'}/launch.sh' 0"]


def test_over_ssh_the_same_recipe_stages_data_and_engine(quickstart: Path) -> None:
    made = draft(
        quickstart,
        sets=["launch.backend=ssh", "cluster.nodes=[b, a]", "cluster.workdir=/work"],
        run_id="q-1",
        addresses={"a": "10.0.0.1", "b": "10.0.0.2"},
        master_port=4000,
    )
    assert sorted(made.inputs.staged) == ["data", "engine"]
    assert [each.node for each in made.commands] == ["b", "a"]
    assert "--master-addr=10.0.0.2 --master-port=4000" in made.files["launch.sh"]
    assert made.plan.paths.run_dir == "/work/runs/q-1"


def test_the_data_is_read_for_its_digest_once(quickstart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(file: BinaryIO, name: str, digest: Callable[..., Any] = hashlib.file_digest) -> Any:
        read.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    made = draft(quickstart, run_id="q-1")
    assert made.inputs.key is not None
    assert made.inputs.data is not None
    assert sorted(name for name in read if name.startswith("instructions")) == [
        "instructions_en.json",
        "instructions_zh.json",
    ]


def test_rendering_twice_gives_the_same_bytes(quickstart: Path) -> None:
    assert draft(quickstart, run_id="q-1").files == draft(quickstart, run_id="q-1").files


def test_runs_lie_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMCTL_RUNS", raising=False)
    assert runs_folder(None) == tmp_path / "runs"
    monkeypatch.setenv("LLMCTL_RUNS", "elsewhere")
    assert runs_folder(None) == tmp_path / "elsewhere"
    assert runs_folder(tmp_path / "given") == tmp_path / "given"


def test_files_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_files({"a": "b"}, tmp_path / "file")
