"""The SSH transport against real nodes."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llmctl.errors import HostKeyError, NodeError
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node
from llmctl.remote import ssh
from llmctl.remote.connect import connect, connect_all, open_target, resolve
from llmctl.remote.fanout import fan_out
from llmctl.remote.pdsh import run_pdsh
from llmctl.remote.through import seats
from tests.conftest import set_up
from tests.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def at_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return lab


def test_both_streams_the_code_and_signals_come_back(at_lab: Lab) -> None:
    transport = connect(Node(name="node1"))
    try:
        result = transport.run("cat; echo two >&2; exit 7", stdin="一 ' $HOME".encode())
        assert (result.code, result.stdout, result.stderr) == (7, "一 ' $HOME", "two\n")
        assert transport.run("kill -9 $$").code == 137
        large = transport.run("head -c 9000000 /dev/zero >&2; head -c 9000000 /dev/zero")
        assert (len(large.stdout), len(large.stderr)) == (9000000, 9000000)
    finally:
        transport.close()


def test_connect_all_gives_each_node_its_own_outcome(at_lab: Lab) -> None:
    outcomes = connect_all([Node(name="node1"), Node(name="nowhere"), Node(name="node2")])
    for outcome in outcomes:
        if outcome.value is not None:
            outcome.value.close()
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert "nowhere=10.0.0.1" in str(outcomes[1].error)


def test_a_command_that_does_not_end_is_ended_on_the_node(at_lab: Lab) -> None:
    transport = connect(Node(name="node1"))
    try:
        with pytest.raises(NodeError, match=r"no end after 0\.5 s"):
            transport.run("sleep 4321", timeout=0.5)
        assert transport.run("ps ax | grep -c '[s]leep 4321'").stdout.strip() == "0"
    finally:
        transport.close()


@pytest.mark.parametrize("jump", [None, "node1"])
def test_a_node_that_is_cut_off_is_found_while_its_command_is_silent(
    at_lab: Lab, monkeypatch: pytest.MonkeyPatch, jump: str | None
) -> None:
    if at_lab.site.password is None:
        pytest.skip("the nodes of a lab without root have no cable of their own")
    monkeypatch.setattr(ssh, "BEAT", 1)
    monkeypatch.setattr(ssh, "UNANSWERED", 3.0)
    second = at_lab.nodes[1]
    transport = open_target(replace(resolve(Node(name="node2")), jump=jump))
    cutting = threading.Timer(4, lambda: at_lab.cut(second))  # what is asked meanwhile is answered
    cutting.start()
    began = time.monotonic()
    try:
        with pytest.raises(NodeError, match="the connection was lost"):
            transport.run("sleep 300", timeout=300)
        assert 4 < time.monotonic() - began < 120
    finally:
        cutting.join()
        at_lab.join(second)
        transport.close()


@pytest.mark.parametrize("name", ["plain", "two words", "a'; echo foo; '", 'q"$HOME`id`', "línea\nnueva", "数据"])
def test_files_go_there_and_back_whatever_their_names(at_lab: Lab, tmp_path: Path, name: str) -> None:
    transport = connect(Node(name="node1"))
    remote = f"{at_lab.nodes[0].workdir}/put/{name}/file"
    content = bytes(range(256)) * 1000
    source = tmp_path / "source"
    source.write_bytes(content)
    try:
        transport.put({remote: source, remote + "2": b""}, mode=0o600)
        transport.get(remote, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content
        listed = transport.run(f"cd {at_lab.nodes[0].workdir}/put && find . -type f | grep -c '\\.file'").stdout.strip()
        assert listed == "0"
    finally:
        transport.close()


def test_what_is_secret_is_nobody_elses_to_read_from_its_first_byte_on(at_lab: Lab, tmp_path: Path) -> None:
    transport = connect(Node(name="node1"))
    folder = f"{at_lab.nodes[0].workdir}/secret"
    os.mkfifo(tmp_path / "pipe")
    sending = threading.Thread(
        target=lambda: transport.put({f"{folder}/env.sh": tmp_path / "pipe"}, mode=0o600), daemon=True
    )
    try:
        sending.start()
        with (tmp_path / "pipe").open("wb") as pipe:  # is there when the file is, and before anything is in it
            assert transport.run(f"stat -c %a {folder}/.env.sh.*").stdout == "600\n"
            pipe.write(b"TOKEN=1")
        sending.join(30)
        assert transport.run(f"stat -c %a {folder}/env.sh; cat {folder}/env.sh").stdout == "600\nTOKEN=1"
    finally:
        transport.close()


def test_more_nodes_than_an_sshd_gives_sessions_share_a_connection(at_lab: Lab) -> None:
    nodes = [Node(name=f"task{number}") for number in range(24)]
    shared = seats(connect(Node(name="node1")), nodes)
    try:
        told = fan_out(nodes, lambda node: shared[node.name].run("sleep 1; hostname").stdout)
        assert [(outcome.value, outcome.error) for outcome in told] == [("node1\n", None)] * len(nodes)
    finally:
        for each in shared.values():
            each.close()


def test_names_that_are_together_longer_than_an_argument_may_be(at_lab: Lab) -> None:
    transport = connect(Node(name="node1"))
    folder = f"{at_lab.nodes[0].workdir}/{chr(39) * 200}"
    try:
        transport.put({f"{folder}/{number}": b"x" for number in range(100)})
        assert transport.run(f"ls -A -- {sh_quote(folder)} | wc -l").stdout.strip() == "100"
    finally:
        transport.close()


def test_a_full_disk_is_told_and_leaves_nothing(fresh: Lab) -> None:
    transport = connect(Node(name="node1"))
    try:
        transport.put({"/tmp/w/kept": b"old"})
        with pytest.raises(NodeError, match="0 of 16 MiB are free on /tmp"):
            transport.put({"/tmp/w/kept": b"x" * (24 << 20), "/tmp/w/other": b"new"})
        assert transport.run("cd /tmp/w && ls -A && cat kept").stdout == "kept\nold"
    finally:
        transport.close()


@pytest.fixture
def fresh(fresh_lab, monkeypatch: pytest.MonkeyPatch) -> Lab:  # type: ignore[no-untyped-def]
    lab: Lab = fresh_lab(count=1, disk_mb=16)
    set_up(lab)
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    return lab


def test_a_changed_host_key_is_refused_with_both_fingerprints(fresh: Lab) -> None:
    node = fresh.nodes[0]
    before = fresh.exec(node, "ssh-keygen -lf /etc/ssh/lab_key.pub").stdout.split()[1]
    fresh.new_host_key(node)
    after = fresh.exec(node, "ssh-keygen -lf /etc/ssh/lab_key.pub").stdout.split()[1]
    with pytest.raises(HostKeyError) as caught:
        connect(Node(name="node1"))
    told = str(caught.value)
    assert before in told
    assert after in told
    assert "--forget" in told


def test_a_jump_host_of_the_ssh_configuration_is_used(at_lab: Lab) -> None:
    config = at_lab.user_home / ".ssh/config"
    config.parent.mkdir(exist_ok=True)
    config.write_text("Host node2\n  ProxyJump node1\n")
    try:
        transport = connect(Node(name="node2"))
        try:
            came_from = transport.run("echo $SSH_CONNECTION; hostname").stdout.split()
        finally:
            transport.close()
        assert came_from[0] == at_lab.nodes[0].address
        assert came_from[-1] == "node2"
        (outcome,) = run_pdsh([Node(name="node2")], "echo ${SSH_CONNECTION%% *}")
        assert outcome.value is not None, outcome.error
        assert outcome.value.stdout == at_lab.nodes[0].address + "\n"
    finally:
        config.unlink()


def test_nothing_listening_is_told_with_the_next_step(at_lab: Lab) -> None:
    with pytest.raises(NodeError, match="the connection was refused"):
        connect(Node(name="node1", port=4))


LISTENS = "while [ ! -e /run/sshd.pid ]; do sleep 0.02; done"
"""sshd writes its file when it listens, after the command that started it has ended."""


def reconfigured(lab: Lab, edit: str) -> None:
    """Restart the first node's sshd with an edited configuration."""
    stop = f"sed -i '{edit}' /etc/ssh/lab_config; kill $(cat /run/sshd.pid)"
    stop += "; while [ -e /run/sshd.pid ]; do sleep 0.02; done"
    assert lab.exec(lab.nodes[0], f"{stop}; $(command -v sshd) -f /etc/ssh/lab_config && {LISTENS}").ok


def test_a_server_that_drops_connections_is_asked_again(fresh: Lab) -> None:
    reconfigured(fresh, "s/^MaxStartups.*/MaxStartups 1:100:1/")
    outcomes = connect_all([Node(name="node1")] * 4)
    for outcome in outcomes:
        if outcome.value is not None:
            outcome.value.close()
    assert [outcome.error for outcome in outcomes] == [None] * 4


def test_a_second_proof_that_nobody_gives_is_a_refused_login(fresh: Lab) -> None:
    reconfigured(fresh, "1i AuthenticationMethods publickey,password")
    with pytest.raises(NodeError, match="the login was refused"):
        connect(Node(name="node1"))


def test_without_sftp_files_go_there_and_back_too(fresh: Lab, tmp_path: Path) -> None:
    reconfigured(fresh, "/sftp/d")
    transport = connect(Node(name="node1"))
    try:
        assert transport.run("grep -c sftp /etc/ssh/lab_config").stdout == "0\n"
        transport.put({"/tmp/w/file": b"\0" * 100_000})
        transport.get("/tmp/w/file", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"\0" * 100_000
        with pytest.raises(NodeError, match="No space left on device"):
            transport.put({"/tmp/w/large": b"x" * (24 << 20)})
        with pytest.raises(NodeError, match="No such file"):
            transport.get("/tmp/w/none", tmp_path / "none")
    finally:
        transport.close()
