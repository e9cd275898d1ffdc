"""Which host keys are trusted, from files as people have them."""

from __future__ import annotations

from pathlib import Path

import paramiko
import pytest

from llmctl.errors import HostKeyError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import Target, resolve
from llmctl.remote.firstcontact import FirstContact, Trust, decide
from llmctl.remote.hostkeys import (
    HostKey,
    find_keys,
    forget,
    host_label,
    known_keys,
    own_known_hosts,
    remember,
    unknown_key,
)
from llmctl.remote.inventory import Entry, load_inventory, save_inventory

ONE = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJUOg1YgPjHa946Qurk2PF7ZXegeq28tKJ/t+60KvY9u")
TWO = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIDSqHQBIsTZ1vVE2JraiO79jGu0AEwKwwG+vN9oyamto")


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "llmctl"))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def line(names: str, key: HostKey) -> str:
    return f"{names} {key.kind} {key.blob} comment\n"


def test_lines_that_paramiko_cannot_load_are_passed_over() -> None:
    text = "# note\n\n@cert-authority *.example " + f"{ONE.kind} {ONE.blob}\n" + "@revoked * ssh-rsa AAAA\nbroken\n"
    text += "node1 ssh-ed25519 not-base64!\n" + line("a,node1,10.0.0.1", TWO)
    assert find_keys(text, ["node1"]) == [TWO]
    assert find_keys(text, ["10.0.0.1", "node1"]) == [TWO]
    assert find_keys(text, ["node"]) == []


def test_hashed_names_and_ports_are_found() -> None:
    hashed = paramiko.HostKeys.hash_host("[10.0.0.1]:2222")
    text = line(hashed, ONE) + line("10.0.0.1", TWO)
    assert find_keys(text, [host_label("10.0.0.1", 2222)]) == [ONE]
    assert find_keys(text, [host_label("10.0.0.1", 22)]) == [TWO]


def test_the_own_file_comes_before_the_users(homes: Path) -> None:
    (homes / ".ssh/known_hosts").write_text(line("n", TWO))
    assert known_keys(["n"]) == ([TWO], homes / ".ssh/known_hosts")
    remember("n", ONE)
    assert known_keys(["n"]) == ([ONE], own_known_hosts())
    assert oct(own_known_hosts().stat().st_mode)[-3:] == "600"
    remember("n", TWO)
    assert known_keys(["n"])[0] == [TWO]
    assert forget("n")
    assert not forget("n")


def target(name: str = "n") -> Target:
    return Target(node=Node(name=name), address="10.0.0.1", port=22, user="me")


def test_who_decides_about_a_key(homes: Path) -> None:
    asked: list[str] = []

    def says(answer: bool) -> FirstContact:
        return FirstContact(confirm=lambda node, label, key: (asked.append(key.fingerprint), answer)[1])

    with pytest.raises(HostKeyError, match="not known"):
        decide(target(), ONE, FirstContact())
    with pytest.raises(HostKeyError, match="not known"):
        decide(target(), ONE, says(False))
    assert decide(target(), ONE, says(True)) is Trust.CONFIRMED
    assert asked == [ONE.fingerprint] * 2
    assert decide(target(), ONE, FirstContact(accept_new=True)) is Trust.ACCEPTED
    given = FirstContact(fingerprints={"n": ONE.fingerprint})
    assert decide(target(), ONE, given) is Trust.FINGERPRINT
    with pytest.raises(HostKeyError, match="not the one that was given"):
        decide(target(), TWO, given)
    (homes / ".ssh/known_hosts").write_text(line("n", ONE))
    assert decide(target(), ONE, FirstContact()) is Trust.KNOWN
    with pytest.raises(HostKeyError, match=r"ssh-keygen -R '10\.0\.0\.1'") as caught:
        decide(target(), TWO, FirstContact(accept_new=True))
    assert ONE.fingerprint in str(caught.value)
    assert TWO.fingerprint in str(caught.value)


def test_where_a_node_is_follows_from_what_is_known(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "caller")
    monkeypatch.setenv("LOGNAME", "caller")
    config = "Host n\n  HostName 10.1.1.1\n  User fromconfig\n  Port 44\n  IdentityFile ~/.ssh/k\n  ProxyJump me@gate\n"
    (homes / ".ssh/config").write_text(config)
    found = resolve(Node(name="n"))
    assert (found.address, found.user, found.port, found.jump) == ("10.1.1.1", "fromconfig", 44, "me@gate")
    assert found.identities == (homes / ".ssh/k",)
    save_inventory({"n": Entry(address="10.2.2.2", user="stored", port=55)})
    found = resolve(Node(name="n"))
    assert (found.address, found.user, found.port) == ("10.2.2.2", "stored", 55)
    found = resolve(Node(name="n"), user="recipe", port=66)
    assert (found.address, found.user, found.port) == ("10.2.2.2", "recipe", 66)
    found = resolve(Node(name="n", address="10.3.3.3", user="typed", port=77), user="recipe", port=66)
    assert (found.address, found.user, found.port) == ("10.3.3.3", "typed", 77)
    assert resolve(Node(name="other")).user == "caller"


@pytest.mark.parametrize("text", ["garbage\n", "Host n\n  Port abc\n", "Match host\n"])
def test_an_ssh_configuration_that_cannot_be_read_is_told(homes: Path, text: str) -> None:
    (homes / ".ssh/config").write_text(text)
    with pytest.raises(UsageError, match=r"give the address instead: n=10\.0\.0\.1"):
        resolve(Node(name="n"))


@pytest.mark.parametrize("text", ["nodes: [", "nodes:\n  n: {unknown: 1}\n", "[]", "nodes:\n  n: 3\n"])
def test_a_broken_inventory_is_told(homes: Path, text: str) -> None:
    (homes / "llmctl").mkdir()
    (homes / "llmctl/nodes.yaml").write_text(text)
    with pytest.raises(UsageError, match="inventory cannot be read"):
        load_inventory()


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("nodes: [", 1, "is no YAML"),
        ("nodes:\n  n: {address: a, user: u,\n      prot: 22}\n", 3, "nodes.n.prot is an unknown key (is port meant?)"),
        ("nodes:\n  n: {address: a, user: u, port: x}\n", 2, "nodes.n.port cannot be 'x'"),
        ("nodes:\n  n: {user: u}\n", 2, "nodes.n has no address"),
        ("nodes:\n  n: 3\n", 2, "nodes.n must be a block of keys"),
    ],
)
def test_a_broken_inventory_is_told_with_its_line(homes: Path, text: str, line: int, why: str) -> None:
    path = homes / "llmctl/nodes.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError) as told:
        load_inventory()
    assert told.value.where.startswith(f"{path}:{line}")
    assert why in told.value.why
    assert len(str(told.value).splitlines()) == 3


def test_the_inventory_comes_back_as_it_was() -> None:
    entries = {"b": Entry(address="10.0.0.1", user="me", added={"keys": ["AAAA"], "ssh_dir": True})}
    save_inventory(entries)
    assert load_inventory() == entries


@pytest.mark.parametrize(
    ("label", "word"),
    [("10.0.0.1", "node1=10.0.0.1"), ("[10.0.0.1]:2222", "node1=10.0.0.1:2222"), ("node1", "node1")],
)
def test_the_remedy_for_an_unknown_key_can_be_typed(label: str, word: str) -> None:
    key = HostKey("ssh-ed25519", "AAAA")
    assert f"llmctl setup-nodes {word} --fingerprint node1={key.fingerprint}" in unknown_key("node1", label, key).hint
