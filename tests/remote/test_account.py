"""What setup-nodes puts into a home folder and takes away again, with this machine's sh and a home of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.recipe.hosts import Node
from llmctl.remote.account import Wanted, carry_out, clean_up, plan_removal, plan_setup, record
from llmctl.remote.local import LocalTransport
from llmctl.remote.nodefiles import make_pair, read_files

HERE = LocalTransport(Node(name="here"))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJUOg1YgPjHa946Qurk2PF7ZXegeq28tKJ/t+60KvY9u launcher"
WANTED = Wanted(keys=[KEY], config=["Host n", "    Port 22"], known_hosts={"10.0.0.1": "ssh-ed25519 AAAA"})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home of 'me'"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def tree(home: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path.relative_to(home)): (path.stat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in home.rglob("*")
    }


def set_up(added: dict[str, object]) -> tuple[list[str], dict[str, object]]:
    files = read_files(HERE)
    edits, blobs = plan_setup(files, WANTED, "here")
    added = record(files, edits, blobs, added)
    carry_out(HERE, files, edits)
    return [edit.name for edit in edits], added


def take_away(added: dict[str, object]) -> None:
    files = read_files(HERE)
    edits = plan_removal(files, added, "here")
    carry_out(HERE, files, edits)
    clean_up(HERE, edits, added)


def test_in_an_empty_home_all_is_made_and_all_goes(home: Path) -> None:
    changed, added = set_up({})
    assert changed == [".ssh/authorized_keys", ".ssh/config", ".ssh/llmctl_known_hosts"]
    assert {oct(mode)[-3:] for mode, _ in tree(home).values()} == {"700", "600"}
    assert set_up(added) == ([], added)
    take_away(added)
    assert tree(home) == {}


def test_what_was_there_comes_back_with_its_modes(home: Path) -> None:
    (home / ".ssh").mkdir(mode=0o755)
    for name, text, mode in (("authorized_keys", b"# \xff no newline", 0o644), ("config", b"User me\r\n", 0o640)):
        (home / ".ssh" / name).write_bytes(text)
        (home / ".ssh" / name).chmod(mode)
    before = tree(home)
    added = set_up({})[1]
    assert tree(home) != before
    take_away(added)
    assert tree(home) == before


def test_a_key_that_was_there_before_stays(home: Path) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/authorized_keys").write_text(KEY + "\n")
    (home / ".ssh/authorized_keys").chmod(0o600)
    added = set_up({})[1]
    take_away(added)
    assert (home / ".ssh/authorized_keys").read_text() == KEY + "\n"


def test_a_link_is_written_through(home: Path, tmp_path: Path) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    (tmp_path / "managed elsewhere").write_text("")
    (home / ".ssh/authorized_keys").symlink_to(tmp_path / "managed elsewhere")
    set_up({})
    assert (home / ".ssh/authorized_keys").is_symlink()
    assert KEY in (tmp_path / "managed elsewhere").read_text()


def test_a_pair_is_made_once(home: Path) -> None:
    first = make_pair(HERE, "llmctl@here")
    assert first.endswith(" llmctl@here")
    assert make_pair(HERE, "llmctl@here") == first
    assert oct((home / ".ssh/llmctl_ed25519").stat().st_mode)[-3:] == "600"
    assert read_files(HERE).text(".ssh/llmctl_ed25519.pub").strip() == first
