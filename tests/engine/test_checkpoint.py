"""Checkpoints are whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from llmctl_engine import checkpoint


def _write(output: Path, step: int) -> Path:
    folder = checkpoint.aside(output) / f"checkpoint-{step}"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(b"w" * step)
    (folder / "deep" / "state").write_text("s")
    return checkpoint.publish(output, step, world_size=2)


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        _write(tmp_path, step)
    (tmp_path / "checkpoint-6" / "weights").write_bytes(b"short")
    (tmp_path / "checkpoint-8").mkdir()
    assert checkpoint.good_steps(tmp_path) == [2, 4]
    marker = checkpoint.read_marker(tmp_path / "checkpoint-4")
    assert marker == checkpoint.Marker(step=4, world_size=2, sizes={"deep/state": 1, "weights": 4})
    assert not checkpoint.aside(tmp_path).exists()


def test_pruning_never_takes_the_newest_good_one(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        _write(tmp_path, step)
    (tmp_path / "checkpoint-8" / checkpoint.MARKER).unlink()
    checkpoint.prune(tmp_path, 1)
    # 8 is not whole, but newer than what is good: it may be a save that another process still publishes.
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-6", "checkpoint-8"]
    checkpoint.prune(tmp_path, None)
    assert checkpoint.good_steps(tmp_path) == [6]


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"step": 1})])
def test_a_marker_that_cannot_be_read_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / checkpoint.MARKER).write_text(text)
    assert checkpoint.read_marker(tmp_path) is None


def test_a_full_disk_is_told_as_that_whatever_the_writer_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("basic_ios::clear: iostream error")
    checkpoint.assert_room(tmp_path, error)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=4096))
    with pytest.raises(OSError, match="No space left on device") as told:
        checkpoint.assert_room(tmp_path, error)
    assert told.value.__cause__ is error


def test_the_newest_step_that_all_have() -> None:
    assert checkpoint.newest_common([[2, 4, 6], [2, 4]]) == 4
    assert checkpoint.newest_common([[2], []]) is None
