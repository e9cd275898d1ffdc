"""`setup-nodes --inventory` on real nodes: users, passwords, keys and ways of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmctl.recipe.hosts import Node
from llmctl.remote.connect import connect
from tests.conftest import RunLlmctl
from tests.lab import Lab
from tests.workflows.test_setup_nodes import at_terminal

pytestmark = pytest.mark.lab
FreshLab = Callable[..., Lab]


def result(run: RunLlmctl, lab: Lab, *words: str | Path, code: int = 0) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        run("setup-nodes", *words, "--accept-new", "--json", env=lab.env, code=code).stdout
    )
    return loaded


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def with_dev(lab: Lab, number: int, password: str) -> None:
    made = lab.exec(lab.nodes[number], "useradd -m -s /bin/bash dev && chpasswd", stdin=f"dev:{password}\n")
    assert made.ok, made.stderr


def test_each_host_has_its_own_user_and_password(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = fresh_lab(count=3)
    with_dev(lab, 1, "dev's password")
    private(tmp_path / "of dev", "dev's password\n")
    one, two, three = lab.nodes
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(
        f"defaults: {{user: root, password_file: {lab.password_file()}, workdir: /tmp/work}}\n"
        f"hosts:\n  node1: {{address: {one.address}}}\n"
        f"  node2: {{address: {two.address}, user: dev, password_file: of dev, python: /usr/bin/python3}}\n"
        f"  node3: {{address: {three.address}}}\n"
    )
    done = result(run_llmctl, lab, "--inventory", inventory)
    assert [(node["name"], node["user"]) for node in done["nodes"]] == [
        ("node1", "root"), ("node2", "dev"), ("node3", "root"),
    ]  # fmt: skip
    assert all(login["ok"] for login in done["logins"])
    kept = (lab.home / "nodes.yaml").read_text()
    assert "/usr/bin/python3" in kept
    assert "of dev" not in kept
    assert all("dev's password" not in path.read_text() for path in lab.home.iterdir())
    again = result(run_llmctl, lab, "--inventory", inventory)
    assert [node["changes"] for node in again["nodes"]] == [[], [], []]
    assert (lab.home / "nodes.yaml").read_text() == kept
    result(run_llmctl, lab, "node1", "node2", "node3")
    assert (lab.home / "nodes.yaml").read_text() == kept, "what the file said is remembered without it"
    (tmp_path / "data").write_text("x")
    told = json.loads(run_llmctl("push", tmp_path / "data", "node[1-3]", "--json", env=lab.env, code=0).stdout)
    assert [node["path"] for node in told["nodes"]] == ["/tmp/work/data"] * 3


def test_a_host_behind_another_one_is_reached_through_it(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = fresh_lab(count=2)
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(
        f"defaults: {{password_file: {lab.password_file()}, user: root}}\nhosts:\n"
        f"  node2: {{address: {lab.nodes[1].address}, jump: node1}}\n"
    )
    refused = run_llmctl("setup-nodes", "--inventory", inventory, "--accept-new", env=lab.env, code=5)
    assert "node1: the name resolves nowhere" in refused.stderr
    result(run_llmctl, lab, lab.specs[0], *lab.login_options())
    result(run_llmctl, lab, "--inventory", inventory)
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    transport = connect(Node(name="node2"))
    try:
        assert transport.run("echo $SSH_CONNECTION").stdout.split()[0] == lab.nodes[0].address
    finally:
        transport.close()
    (tmp_path / "data").write_text("x")
    words = ("push", tmp_path / "data", "node2", "--to", "/tmp/data", "--json")
    (arrival,) = json.loads(run_llmctl(*words, env=lab.env, code=0).stdout)["nodes"]
    assert (arrival["state"], arrival["notes"]) == ("copied", []), "rsync, where it is there, takes the same way"


def test_a_key_of_one_host_serves_its_first_login(fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    lab = fresh_lab(count=1)
    key = tmp_path / "my key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    lab.write(lab.nodes[0], "/root/.ssh/authorized_keys", Path(f"{key}.pub").read_text(), mode="600")
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(f"hosts: {{node1: {{address: {lab.nodes[0].address}, user: root, key: my key}}}}")
    assert result(run_llmctl, lab, "--inventory", inventory)["exit_code"] == 0


def test_a_wrong_file_is_told_before_any_node_is_asked(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path
) -> None:
    lab = fresh_lab(count=1)
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("hosts:\n  node1:\n    adress: 10.0.0.1\n    port: 0\n")
    done = run_llmctl("setup-nodes", "--inventory", inventory, env=lab.env, code=2)
    assert f"{inventory}:3: hosts.node1.adress: unknown key" in done.stderr
    assert "did you mean address?" in done.stderr
    assert f"{inventory}:4: hosts.node1.port: must be a whole number" in done.stderr
    assert not lab.home.exists()


def test_at_a_terminal_a_node_with_another_password_is_asked_for_by_name(fresh_lab: FreshLab) -> None:
    lab = fresh_lab(count=2)
    assert lab.exec(lab.nodes[1], "echo 'root:another one' | chpasswd").ok
    answers = {
        "password on the nodes:": f"{lab.site.password}\n",
        "password on node2:": "another one\n",
    }
    shown, code = at_terminal(lab, ["setup-nodes", *lab.specs, "--accept-new"], answers)
    assert code == 0, shown
    assert "password on node1" not in shown
    assert "another one" not in shown


@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed")
@pytest.mark.parametrize("rule", ["dev ALL=(ALL) ALL", "dev ALL=(ALL) NOPASSWD: ALL"])
def test_sudo_writes_the_names_and_takes_them_away(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path, rule: str
) -> None:
    lab = fresh_lab(count=2)
    for number, node in enumerate(lab.nodes):
        with_dev(lab, number, "it's secret")
        lab.write(node, "/etc/sudoers.d/dev", rule + "\n", mode="440")
    before = [lab.read(node, "/etc/hosts") for node in lab.nodes]
    password = private(tmp_path / "password", "it's secret\n")
    specs = [f"dev@{node.name}={node.address}" for node in lab.nodes]
    done = result(run_llmctl, lab, *specs, "--password-file", password)
    assert all("/etc/hosts" in node["changes"] for node in done["nodes"])
    assert all("add it by hand" not in note for node in done["nodes"] for note in node["notes"])
    assert all(lab.exec(node, "getent hosts node1 node2").ok for node in lab.nodes)
    held = [
        lab.exec(node, "cat /etc/hosts; ls -A /run/sudo/ts 2>/dev/null; grep -r secret /var/log").stdout
        for node in lab.nodes
    ]
    assert all("secret" not in text for text in held)
    result(run_llmctl, lab, "node1", "node2", "--remove", "--password-file", password)
    assert [lab.read(node, "/etc/hosts") for node in lab.nodes] == before


@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed")
def test_a_login_without_the_right_to_sudo_is_told_what_to_add(
    fresh_lab: FreshLab, run_llmctl: RunLlmctl, tmp_path: Path
) -> None:
    lab = fresh_lab(count=1)
    with_dev(lab, 0, "it's secret")
    before = lab.read(lab.nodes[0], "/etc/hosts")
    password = private(tmp_path / "password", "it's secret\n")
    done = result(run_llmctl, lab, f"dev@node1={lab.nodes[0].address}", "--password-file", password)
    assert f"+{lab.nodes[0].address}\tnode1" in done["nodes"][0]["notes"][0]
    assert lab.read(lab.nodes[0], "/etc/hosts") == before
