"""Small files in one command: sh writes them byte for byte, or says that it did not."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llmctl.remote.bundle import CONTENT, SMALL, Bundle, bundles


def take(bundle: Bundle, folder: Path, content: bytes, *, private: bool = False) -> int:
    """Run its command in a folder with a careless umask; the exit code."""
    line = ["sh", "-c", f"umask 022; {bundle.command(private=private)}"]
    return subprocess.run(line, cwd=folder, input=content, capture_output=True, check=False).returncode


def test_every_byte_comes_under_every_name(tmp_path: Path) -> None:
    files = {"plain": b"a\0b\n", "it's; echo $(x) 数据\n": bytes(range(256)) * 200, "empty": b"", "-last": b"\nend"}
    bundle = Bundle(files)
    assert take(bundle, tmp_path, bundle.content()) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_what_is_private_is_so_from_its_first_byte_on(tmp_path: Path) -> None:
    assert take(Bundle({"env": b"token"}), tmp_path, b"token", private=True) == 0
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600


def test_a_byte_too_few_and_a_folder_that_is_not_there_are_failures(tmp_path: Path) -> None:
    assert take(Bundle({"one": b"12345", "two": b"678"}), tmp_path, b"1234567") != 0
    assert take(Bundle({"none/one": b"1"}), tmp_path, b"1") != 0


def test_what_is_large_or_a_pipe_goes_by_itself(tmp_path: Path) -> None:
    small, large, pipe = tmp_path / "small", tmp_path / "large", tmp_path / "pipe"
    small.write_bytes(b"x" * SMALL)
    large.write_bytes(b"x" * (SMALL + 1))
    os.mkfifo(pipe)
    together, rest = bundles({"/a": small, "/b": large, "/c": pipe, "/d": b"x" * (SMALL + 1), "/e": b"x"})
    assert [list(bundle.files) for bundle in together] == [["/a", "/e"]]
    assert list(rest) == ["/b", "/c", "/d"]


@given(st.lists(st.text("a'\"$ 数\n", min_size=1, max_size=1200), unique=True, max_size=60))
def test_no_command_is_longer_than_an_argument_may_be(names: list[str]) -> None:
    together, rest = bundles(dict.fromkeys(names, b"x" * 10000))
    assert [name for bundle in together for name in bundle.files] == names
    assert rest == {}
    for bundle in together:
        assert len(shlex.quote(bundle.command(private=True)).encode()) < 127 << 10
        assert len(bundle.content()) <= CONTENT
