"""Checks without a node: Ctrl-C while nodes are being read, and what must never be sent."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmctl.checks.question import Question
from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import CommandResult
from llmctl.workflows.check import check_nodes, check_words

NODES = [Node(name="quick"), Node(name="hangs")]


class Hanging:
    """Waits until the other node was read, interrupts the program, and answers no more until the test ends."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.read, self.over = threading.Event(), threading.Event()

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        self.read.wait(60)
        os.kill(os.getpid(), signal.SIGINT)
        self.over.wait(60)
        return CommandResult(1, "", "")

    def put(self, files: Any, *, mode: int = 0o644) -> None: ...

    def get(self, remote: str, local: Any) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging(NODES[1])
    yield made
    made.over.set()


def test_what_was_read_until_then_is_judged(hanging: Hanging) -> None:
    states: list[tuple[str, str]] = []

    def watch(node: str, state: str) -> None:
        states.append((node, state))
        if (node, state) == ("quick", "read"):
            hanging.read.set()

    transports = {"quick": LocalTransport(NODES[0]), "hangs": hanging}
    result = check_nodes(NODES, transports, Question(), watch=watch)
    assert result.interrupted
    assert {fact.node for fact in result.facts} == {"quick"}
    assert set(result.errors) == {"hangs"}
    assert "interrupted" in str(result.errors["hangs"])
    assert states[:2] == [("quick", "reading"), ("hangs", "reading")]


def test_ctrl_c_while_connecting_is_told_of_every_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The port takes the connection and says nothing."""
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        def interrupt() -> None:
            silent.accept()
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        result = check_words([f"hangs=127.0.0.1:{silent.getsockname()[1]}"])
    assert (result.interrupted, result.facts, result.findings) == (True, (), ())
    assert "was not read: interrupted while connecting" in str(result.errors["hangs"])


def test_pdsh_carries_no_secret_of_an_activation_line() -> None:
    lines = ["export HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz0123", "source /opt/env.sh"]
    cluster = {"device": "cpu", "nodes": ["node1"], "workdir": "/w", "activate": lines}
    recipe = Recipe.model_validate(
        {"name": "r", "cluster": cluster, "model": {"path": "m"}, "data": {"datasets": ["d"]}}
    )
    with pytest.raises(UsageError, match="pdsh cannot carry a secret"):
        check_nodes(NODES[:1], {}, Question(), recipe=recipe, via_pdsh=True)
