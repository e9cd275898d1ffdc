"""Servers that are no good before any login: silent, slammed shut, or something else than SSH."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from llmctl.errors import NodeError
from llmctl.remote import handshake
from llmctl.remote.handshake import Server, dial, shake_hands

Answer = Callable[[socket.socket], None]
GREETING = b"SSH-2.0-OpenSSH_9.2\r\n"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    """Start a server that does the same with every connection; the patience is short."""
    monkeypatch.setattr(handshake, "SILENCE", 2.0)
    monkeypatch.setattr(handshake, "PATIENCE", 3.0)
    listening = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def start(answer: Answer) -> Server:
        def accept() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listening.accept()[0])
                    answer(taken[-1])

        threading.Thread(target=accept, daemon=True).start()
        return Server(node="node1", user="me", address="127.0.0.1", port=listening.getsockname()[1])

    yield start
    for sock in [listening, *taken]:
        sock.close()


def fail(server: Server) -> str:
    with pytest.raises(NodeError) as caught:
        shake_hands(server, lambda: dial(server), ())
    return str(caught.value)


def test_a_server_that_says_nothing_is_told_at_once(serve: Callable[[Answer], Server]) -> None:
    told = fail(serve(lambda _: None))
    assert "node1: its sshd does not answer" in told
    assert "took the connection, then said nothing for 2 s" in told
    assert "next: " in told


def test_a_server_that_stops_after_its_greeting_is_told_as_such(serve: Callable[[Answer], Server]) -> None:
    told = fail(serve(lambda sock: sock.sendall(GREETING)))
    assert "sent its greeting, then nothing" in told


def test_a_greeting_that_never_ends_is_no_greeting(serve: Callable[[Answer], Server]) -> None:
    def drip(sock: socket.socket) -> None:
        def run() -> None:
            with suppress(OSError):
                while True:
                    sock.sendall(b"S")
                    time.sleep(0.1)

        threading.Thread(target=run, daemon=True).start()

    assert "its sshd does not answer" in fail(serve(drip))


def test_a_server_that_always_closes_is_asked_again_and_then_told(serve: Callable[[Answer], Server]) -> None:
    calls: list[None] = []

    def close(sock: socket.socket) -> None:
        calls.append(None)
        sock.close()

    told = fail(serve(close))
    assert "it closes every connection before its greeting" in told
    assert f"{len(calls)} tries in 3 s" in told
    assert len(calls) > 1
    assert "MaxStartups" in told


def test_another_kind_of_server_is_not_asked_again(serve: Callable[[Answer], Server]) -> None:
    calls: list[None] = []

    def web(sock: socket.socket) -> None:
        calls.append(None)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n" * 10_000)

    told = fail(serve(web))
    assert "HTTP/1.1 400 Bad Request" in told
    assert len(calls) == 1


def test_a_port_where_nothing_listens_is_told() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = Server(node="node1", user="me", address="127.0.0.1", port=closed.getsockname()[1])
        assert "nothing listens on 127.0.0.1:" in fail(server)
