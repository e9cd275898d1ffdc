"""The inventory file: what it says, and every mistake with its line and key path."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.remote.hostsettings import chosen, read_settings

GOOD = """\
defaults:
  user: root
  port: 2222
  workdir: /data/llm ctl
  password_file: pass word
hosts:
  node1: {address: 10.0.0.1, python: /opt/py 3/bin/python3}
  dev@node2:
    address: fe80::1
    port: 22
    key: ~/id
    jump: me@gate:2200
  node[03-04]:
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "id").write_text("key")
    (tmp_path / "pass word").write_text("secret\n")
    (tmp_path / "pass word").chmod(0o600)
    return tmp_path / "inventory.yaml"


def test_defaults_are_filled_in_and_ranges_expanded(file: Path) -> None:
    file.write_text(GOOD)
    one, two, three, four = read_settings(file)
    assert one.node == Node(name="node1", address="10.0.0.1", user="root", port=2222)
    assert (one.python, one.workdir, one.jump, one.key) == ("/opt/py 3/bin/python3", "/data/llm ctl", None, None)
    assert one.password_file == file.parent / "pass word"
    assert two.node == Node(name="node2", address="fe80::1", user="dev", port=22)
    assert (two.key, two.jump) == (file.parent / "id", "me@gate:2200")
    assert [three.node.name, four.node.name] == ["node03", "node04"]


def test_nodes_choose_from_it_and_may_say_more(file: Path) -> None:
    file.write_text(GOOD)
    picked = chosen(read_settings(file), parse_nodes(["node04", "me@node1:9"]))
    assert [each.node.name for each in picked] == ["node04", "node1"]
    assert picked[1].node == Node(name="node1", address="10.0.0.1", user="me", port=9)
    with pytest.raises(UsageError, match="not in the inventory file: node9"):
        chosen(read_settings(file), parse_nodes(["node9"]))


MISTAKES = [
    ("hosts:\n  node1: {prot: 22}", 2, "hosts.node1.prot: unknown key", "did you mean port?"),
    ("default: {}\nhosts: {a: }", 1, "default: unknown key", "did you mean defaults?"),
    ("defaults: {address: a}\nhosts: {a: }", 1, "defaults.address: unknown key", "known here are"),
    ("hosts:\n  a: {port: 70000}", 2, "hosts.a.port: must be a whole number", ""),
    ("hosts:\n  a: {port: true}", 2, "hosts.a.port: must be a whole number", ""),
    ("hosts:\n  a: {user: 12}", 2, "hosts.a.user: must be an account's name", 'quote it: "12"'),
    ("hosts:\n  a: {user: 'x; echo foo'}", 2, "hosts.a.user: must be an account's name", ""),
    ("hosts:\n  a: {jump: '-oProxyCommand=x'}", 2, "hosts.a.jump: must be [user@]name[:port]", ""),
    ("hosts:\n  a: {workdir: data}", 2, "hosts.a.workdir: must be an absolute path on the node", ""),
    ("hosts:\n  a:\n    key: none", 3, "hosts.a.key: no such file", ""),
    ("hosts:\n  a:\n    password_file: open", 3, "hosts.a.password_file: others can read this file", "chmod 600"),
    ("hosts:\n  a: 7", 2, "hosts.a: must be a block of keys", ""),
    ("hosts:\n  a b: {}", 2, "hosts.a b: 'a b' is no node", ""),
    ("hosts:\n  'n[1-2]': {address: x}", 2, "hosts.n[1-2].address: a range cannot have one address", ""),
    ("hosts:\n  n1: {}\n  'n[1-2]': {}", 3, "hosts.n[1-2]: n1 stands twice", ""),
    ("defaults: {port: 1}", 1, "hosts: is missing", ""),
    ("hosts: {}", 1, "hosts: names no host", ""),
]


@pytest.mark.parametrize(("text", "line", "what", "hint"), MISTAKES, ids=[what for _, _, what, _ in MISTAKES])
def test_a_mistake_is_told_with_its_line(file: Path, text: str, line: int, what: str, hint: str) -> None:
    file.write_text(text)
    (file.parent / "open").write_text("")
    (file.parent / "open").chmod(0o644)
    with pytest.raises(ManyErrors) as caught:
        read_settings(file)
    (error,) = caught.value.errors
    assert error.where == f"{file}:{line}"
    assert error.what.startswith(what)
    assert hint in error.hint


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    file.write_text("defaults: {prot: 1}\nhosts:\n  a: {port: x}\n  b: {usr: y}\nother: 1\n")
    with pytest.raises(ManyErrors) as caught:
        read_settings(file)
    assert [error.where.rpartition(":")[2] for error in caught.value.errors] == ["1", "3", "4", "5"]


@pytest.mark.parametrize("text", ["- a\n", "", "hosts: {a: {}, a: {}}", "hosts: [", "\x00"])
def test_what_is_no_inventory_file_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_settings(file)
    assert str(file) in caught.value.where


def test_a_missing_file_shows_what_to_write(file: Path) -> None:
    with pytest.raises(UsageError, match="no such inventory file"):
        read_settings(file)
