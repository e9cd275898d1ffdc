"""This machine as a node, and the secret that shows itself nowhere."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import pytest

from llmctl.errors import NodeError
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.remote.secret import Secret

HERE = LocalTransport(Node(name="here"))


def test_streams_codes_and_signals() -> None:
    result = HERE.run("cat; echo bad >&2; exit 5", stdin="中 '".encode())
    assert (result.code, result.stdout, result.stderr) == (5, "中 '", "bad\n")
    assert HERE.run("kill -9 $$").code == 137


def test_what_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no end after 3 s"):
        HERE.run(f"sleep 5432 & echo $! > '{tmp_path}/pid'; wait", timeout=3)
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    deadline = time.monotonic() + 10  # the kernel ends a killed process in its own time
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline


@pytest.mark.parametrize("name", ["plain", "two words", "a'; echo foo; '", "línea\nnueva", "数据"])
def test_files_are_written_whole(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"\0" * 100_000)
    remote = f"{tmp_path}/{name}/file"
    HERE.put({remote: source, remote + "2": b"x"}, mode=0o600)
    HERE.get(remote, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert {path.name for path in Path(remote).parent.iterdir()} == {"file", "file2"}
    assert oct(Path(remote).stat().st_mode)[-3:] == "600"


def test_a_file_that_cannot_be_written_or_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NodeError, match=r"here:.*writing a file failed"):
        HERE.put({f"{tmp_path}/file/below": b"x"})
    with pytest.raises(NodeError, match="No such file"):
        HERE.get(f"{tmp_path}/none", tmp_path / "x")


def test_a_secret_shows_only_when_asked() -> None:
    secret = Secret("pa$$word")
    assert "pa$$" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "pa$$word"
    for writer in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError):
            writer(secret)
