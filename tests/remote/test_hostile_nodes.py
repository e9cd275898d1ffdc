"""Nodes that behave badly, met over the real connection: each has its own clear error, the others are whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from llmctl.errors import LlmctlError, NodeError
from llmctl.recipe.hosts import Node
from llmctl.remote import command, connect, handshake, login, ssh, streaming
from tests.lab import Lab
from tests.lab.hostile import BASHRC, OTHER_KEY, STOPPED, restarted, with_shell
from tests.lab.hostile import hostile as bad

pytestmark = pytest.mark.lab
NODES = [Node(name=f"node{i}") for i in (1, 2, 3)]
LIMIT = 6.0
"""Seconds in the place of a longer patience, which the good nodes keep to on a busy machine too."""


@pytest.fixture
def hostile(three: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Run a command inside node2 that makes it hostile; taken back at the end."""
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, three.env[key])
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with bad(three, three.nodes[1]) as make:
        yield make


def ask(words: str = "hostname", timeout: float = 20) -> tuple[list[str], LlmctlError | None, float]:
    """What the nodes answer to a command, the second one's error, and the seconds that all took together."""
    started = time.monotonic()
    answers, error = [], None
    for outcome in connect.connect_all(NODES):
        if outcome.value is None:
            assert outcome.item is NODES[1], outcome.error
            error = outcome.error
            continue
        try:
            answers.append(outcome.value.run(words, timeout=timeout).stdout)
        except NodeError as failure:
            if outcome.item is not NODES[1]:
                raise
            error = failure
        finally:
            outcome.value.close()
    return answers, error, time.monotonic() - started


def told(words: str = "hostname", timeout: float = 20) -> str:
    """The second node's error, when the others answer as ever."""
    answers, error, _ = ask(words, timeout)
    assert answers == ["node1\n", "node3\n"]
    assert error is not None
    assert error.where.startswith("node2")
    assert error.why
    assert error.hint
    return str(error)


def test_a_stopped_sshd_is_told_well_before_a_minute(hostile: Callable[[str], None]) -> None:
    hostile(STOPPED)
    answers, error, seconds = ask()
    assert answers == ["node1\n", "node3\n"]
    assert "node2: its sshd does not answer" in str(error)
    assert seconds < 30


def test_a_login_that_gets_no_answer(hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "LIMIT", LIMIT)
    hang = r"1i AuthorizedKeysFile none\nAuthorizedKeysCommand /usr/bin/sleep 1000\nAuthorizedKeysCommandUser root"
    hostile(restarted(hang))
    assert "the login got no answer" in told()


def test_a_node_that_stops_after_the_login(
    hostile: Callable[[str], None], three: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "OPEN_TIMEOUT", 2.0)
    opened = connect.connect(NODES[1])
    try:
        three.exec(three.nodes[1], "kill -STOP -1")
        with pytest.raises(NodeError, match="it does not answer any more"):
            opened.run("true")
    finally:
        opened.close()
    hostile("kill -CONT -1")


def test_a_login_shell_that_hangs(hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "START", LIMIT)
    hostile(f"echo 'echo waiting for the home server; sleep 1000' > {BASHRC}")
    text = told()
    assert "the login shell does not come to our command" in text
    assert "the last line: waiting for the home server" in text


def test_a_login_shell_that_prints_for_ever(hostile: Callable[[str], None]) -> None:
    hostile(f"echo 'yes noise' > {BASHRC}")
    text = told()
    assert "the login shell prints without end" in text
    assert "the last line: n" in text


@pytest.mark.parametrize("stream", [1, 2])
def test_a_login_shell_that_prints_for_ever_but_slowly(
    hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, stream: int
) -> None:
    monkeypatch.setattr(command, "START", LIMIT)
    hostile(f"echo 'while :; do echo noise >&{stream}; sleep 0.1; done' > {BASHRC}")
    text = told()
    assert "the login shell prints without end" in text
    assert "bytes came before our command; the last line: noise" in text


def test_ten_thousand_lines_before_every_answer_change_nothing(hostile: Callable[[str], None], tmp_path: Path) -> None:
    hostile("seq -f 'line %g of the banner' 10000 > /etc/ssh/banner")
    hostile(restarted("1i Banner /etc/ssh/banner"))
    hostile(f"echo 'seq -f \"line %g of .bashrc\" 10000; echo complaint >&2' > {BASHRC}")
    transport = connect.connect(NODES[1])
    try:
        result = transport.run("cat; hostname; echo own >&2; exit 7", stdin=b"\0in\n")
        assert (result.code, result.stdout, result.stderr) == (7, "\0in\nnode2\n", "own\n")
        content = bytes(range(256)) * 1000
        transport.put({"/tmp/noisy/file": content})
        transport.get("/tmp/noisy/file", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content
        lines: list[str] = []
        assert transport.stream("cat", [b"one\n", b"two"], told=lines.append).ok
        assert lines == ["one", "two"]
    finally:
        transport.close()


def test_output_without_end_is_bounded(hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MOST", 1 << 20)
    hostile("true")
    transport = connect.connect(NODES[1])
    try:
        for words in ("yes", "yes >&2"):
            with pytest.raises(NodeError, match="the output has no end"):
                transport.run(words)
        assert transport.run("echo still there").stdout == "still there\n"
    finally:
        transport.close()


def test_an_account_without_a_shell(hostile: Callable[[str], None]) -> None:
    hostile(with_shell("/usr/sbin/nologin"))
    text = told()
    assert "the login runs no commands" in text
    assert "This account is currently not available" in text
    assert "USER@node2" in text


def test_a_restricted_shell_with_no_commands(hostile: Callable[[str], None]) -> None:
    hostile("mkdir -p /root/bin; " + with_shell("/bin/rbash"))
    hostile(f"echo 'PATH=/root/bin' > {BASHRC}")
    text = told()
    assert "the login runs no commands" in text
    assert "sh: command not found" in text


def test_a_restricted_shell_that_has_sh_is_no_obstacle(hostile: Callable[[str], None]) -> None:
    hostile(with_shell("/bin/rbash"))
    assert ask()[0] == ["node1\n", "node2\n", "node3\n"]


def test_a_forced_command(hostile: Callable[[str], None]) -> None:
    hostile(restarted("$a ForceCommand echo only backups here"))
    text = told()
    assert "the login runs no commands" in text
    assert "ended with 0 and said: only backups here" in text
    assert "authorized_keys" in text


def test_a_command_that_hangs_is_ended_there(hostile: Callable[[str], None], three: Lab) -> None:
    hostile("true")
    transport = connect.connect(NODES[1])
    try:
        with pytest.raises(NodeError, match="no end after 1 s"):
            transport.run("trap '' TERM; sleep 5432 & wait; sleep 5432", timeout=1)
    finally:
        transport.close()


def test_max_startups_of_three_is_waited_out_by_many(hostile: Callable[[str], None]) -> None:
    hostile(restarted("s/^MaxStartups.*/MaxStartups 3:100:3/"))
    outcomes = connect.connect_all([NODES[1]] * 24)
    for outcome in outcomes:
        if outcome.value is not None:
            outcome.value.close()
    assert [outcome.error for outcome in outcomes] == [None] * 24


def test_a_jump_host_with_max_startups_of_three_carries_many(
    hostile: Callable[[str], None], three: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "SILENCE", LIMIT)
    hostile(restarted("s/^MaxStartups.*/MaxStartups 3:100:3/"))
    config = three.user_home / ".ssh/config"
    config.parent.mkdir(exist_ok=True)
    config.write_text("Host node1 node3\n  ProxyJump node2\n")
    hostile(": > /var/log/sshd.log")
    try:
        outcomes = connect.connect_all([NODES[0], NODES[2]] * 12)
        opened = [outcome.value for outcome in outcomes if outcome.value is not None]
        assert [outcome.error for outcome in outcomes] == [None] * 24
        for transport in opened[:-1]:
            transport.close()
        assert opened[-1].run("echo ${SSH_CONNECTION%% *}").stdout.strip() == three.nodes[1].address
        opened[-1].close()
        assert three.exec(three.nodes[1], "grep -c 'Accepted publickey' /var/log/sshd.log").stdout == "1\n"
        hostile(STOPPED)
        errors = [str(outcome.error) for outcome in connect.connect_all([NODES[0], NODES[2]])]
        for name, text in zip(("node1", "node3"), errors, strict=True):
            assert f"{name}: the jump host before it cannot be used" in text
            assert "node2: its sshd does not answer" in text
    finally:
        config.unlink()


def test_a_changed_host_key_stops_only_its_node(hostile: Callable[[str], None]) -> None:
    hostile(OTHER_KEY)
    assert "the host key has changed" in told()


def test_a_server_that_never_lets_in_is_told_within_its_patience(
    hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "PATIENCE", LIMIT)
    hostile(restarted("s/^MaxStartups.*/MaxStartups 1:100:1/"))
    hostile("bash -c '(exec 3<>/dev/tcp/127.0.0.1/22; read -u 3; echo >&2; sleep 60) >/dev/null 2>&1 &'")
    hostile("until pgrep -f 'sshd: .*[[]accepted]|sshd: unknown' >/dev/null; do sleep 0.05; done")
    assert "it closes every connection before its greeting" in told()


def test_a_node_that_stops_while_it_is_sent_much_is_let_go(
    hostile: Callable[[str], None], three: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "GRACE", 0.5)
    hostile("rm -f /run/got")
    transport = connect.connect(NODES[1])
    try:
        words = "until [ -e /run/got ]; do sleep 0.05; done; kill -STOP -1"
        stop = threading.Thread(target=lambda: three.exec(three.nodes[1], words))
        stop.start()
        with pytest.raises(NodeError, match="no end after"):
            transport.run(
                "head -c 1000000 >/dev/null; touch /run/got; sleep 300; cat", stdin=b"x" * (64 << 20), timeout=5
            )
        stop.join()
    finally:
        transport.close()


def test_a_session_that_stops_between_two_answers_is_let_go(
    hostile: Callable[[str], None], three: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The server has opened the channel, then says nothing about the command or the subsystem."""
    monkeypatch.setattr(command, "START", 2.0)
    monkeypatch.setattr(ssh, "OPEN_TIMEOUT", 2.0)
    monkeypatch.setattr(streaming, "START", 2.0)
    open_session = paramiko.Transport.open_session

    def then_stop(self: paramiko.Transport, *args: Any, **more: Any) -> paramiko.Channel:
        channel = open_session(self, *args, **more)
        three.exec(three.nodes[1], "kill -STOP -1")
        return channel

    def ask(work: Callable[[ssh.SshTransport], object]) -> str:
        opened = connect.connect(NODES[1])
        try:
            monkeypatch.setattr(paramiko.Transport, "open_session", then_stop)
            with pytest.raises(NodeError) as caught:
                work(opened)
            return str(caught.value)
        finally:
            monkeypatch.setattr(paramiko.Transport, "open_session", open_session)
            opened.close()
            hostile("kill -CONT -1")

    hung = "the login shell does not come to our command"
    assert hung in ask(lambda opened: opened.run("true"))
    assert hung in ask(lambda opened: opened.stream("true", told=lambda _: None))
    assert "does not answer any more" in ask(lambda opened: opened.get("/etc/hostname", tmp_path / "got"))
