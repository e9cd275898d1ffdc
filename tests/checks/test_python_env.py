"""Packages are read from their metadata, by the interpreter of the environment, without an import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmctl.checks.facts import Fact, Severity
from llmctl.checks.judge import judge
from llmctl.checks.paths import path_rows
from llmctl.checks.python_env import python_rows
from llmctl.checks.rows import Row, Wanted
from llmctl.run.plan import NodePaths


def row(rows: list[Row], name: str) -> Row:
    return next(each for each in rows if each.name == name)


def output(each: Row, **environment: str) -> str:
    env = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(["bash", "-c", each.run], env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    place = tmp_path / "site 包's"
    for name in ("torch-2.6.0", "torch_npu-2.6.0.post3", "zz_top-1.0"):
        (place / f"{name}.dist-info").mkdir(parents=True)
    (place / "old.thing-0.3-py3.8.egg-info").mkdir()
    (place / "torch").mkdir()
    (place / "torch/__init__.py").write_text("raise SystemExit('imported')")
    origin = {"url": "https://host/repo", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}
    (place / "zz_top-1.0.dist-info/direct_url.json").write_text(json.dumps(origin))
    (place / "broken-1.dist-info").mkdir()
    (place / "broken-1.dist-info/direct_url.json").write_text("{not json")
    return place


def test_versions_come_from_the_metadata_and_nothing_is_imported(packages: Path) -> None:
    rows = python_rows(sys.executable, engine=True)
    out = output(rows[0], PYTHONPATH=str(packages))
    assert row(rows, "package.torch").parse(out) == "2.6.0"
    assert row(rows, "package.torch-npu").parse(out) == "2.6.0.post3"
    assert row(rows, "package.torch-tpu").parse(out) == "none"
    assert row(rows, "python.executable").parse(out) == sys.executable
    others = row(rows, "packages.other").parse(out)
    assert others["zz-top"] == "1.0@abc123"
    assert others["old-thing"] == "0.3"
    assert others["broken"] == "1"
    assert "torch" not in others


def test_an_interpreter_with_a_hostile_name(tmp_path: Path) -> None:
    odd = tmp_path / "py'; echo foo #包"
    odd.symlink_to(sys.executable)
    rows = python_rows(str(odd), engine=False)
    assert row(rows, "python.executable").parse(output(rows[0])) == str(odd)


def test_missing_packages_of_the_engine_block() -> None:
    rows = python_rows("python3", engine=True, deepspeed=True, lora=True)
    packages = row(rows, "python.packages")
    has = {"torch": "2", "transformers": "5", "accelerate": "1", "safetensors": "0"}
    (finding,) = judge([packages], [Fact(name=packages.name, node="n", value=has)], {}, Wanted())
    assert finding.severity is Severity.ERROR
    assert "lacks deepspeed, peft" in finding.title
    plain = row(python_rows("python3", engine=False), "python.packages")
    assert judge([plain], [Fact(name=plain.name, node="n", value={})], {}, Wanted()) == []


def test_an_interpreter_that_cannot_run_blocks() -> None:
    executable = row(python_rows("python9", engine=True), "python.executable")
    (finding,) = judge([executable], [Fact(name=executable.name, node="n", error="not found")], {}, Wanted())
    assert (finding.code, finding.severity) == ("python.executable.missing", Severity.ERROR)


def model_row(place: Path) -> Row:
    paths = NodePaths(run_dir="/r", engine_dir="/e", data_dir="/d", model_path=str(place), adapter_path=None)
    (each,) = path_rows(paths, frozenset({"data"}))
    return each


def test_small_files_are_compared_by_content_and_large_ones_by_size(tmp_path: Path) -> None:
    place = tmp_path / "model 'x' 权重"
    place.mkdir()
    (place / "config.json").write_text("{}")
    with (place / "weights.bin").open("wb") as file:
        file.truncate(17 * 2**20)
    each = model_row(place)
    before = each.parse(output(each))
    assert before["./weights.bin"] == f"size:{17 * 2**20}"
    assert set(before) == {"./config.json", "./weights.bin"}
    (place / "config.json").write_text("[]")
    assert each.parse(output(each))["./config.json"] != before["./config.json"]


def test_a_folder_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    each = model_row(tmp_path / "none")
    assert subprocess.run(["sh", "-c", each.run], capture_output=True, check=False).returncode != 0
    assert str(tmp_path / "none") in each.must
