"""From an address to agreed keys: what may go wrong before a login, each in its own words."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import paramiko

from llmctl.errors import NodeError, Unanswered

DIAL = 10.0
"""Seconds for a TCP connection."""
SILENCE = 10.0
"""Seconds for a server's greeting, and again for the agreement on keys."""
PATIENCE = 20.0
"""Seconds within which a server that drops connections is asked again."""

Socket = socket.socket | paramiko.Channel


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is said of a server in errors."""

    node: str
    user: str
    address: str
    port: int

    @property
    def place(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def try_it(self) -> str:
        """The command that shows more."""
        return f"ssh -v -p {self.port} {self.user}@{self.address}"


class _Dropped(Exception):
    """The server closed the connection before its greeting."""


def shake_hands(server: Server, open_socket: Callable[[], Socket], kinds: Collection[str]) -> paramiko.Transport:
    """Connect and agree on keys; a server that drops connections (MaxStartups) is asked again, at random moments.

    `kinds` of host key are asked for first. Raises NodeError."""
    deadline = time.monotonic() + PATIENCE
    tries = 0
    while True:
        tries += 1
        try:
            return _attempt(server, open_socket(), kinds)
        except _Dropped as dropped:
            pause = random.uniform(0.1, 0.3) * 2 ** min(tries, 4)  # noqa: S311 - spreads the retries
            if time.monotonic() + pause >= deadline:
                raise NodeError(
                    "it closes every connection before its greeting",
                    where=server.node,
                    why=f"{tries} tries in {PATIENCE:g} s at {server.place}: {dropped}",
                    hint="too many logins at once there (MaxStartups in sshd_config)? try again in a moment; or is "
                    "this machine barred there (hosts.deny, fail2ban)?",
                ) from dropped
            time.sleep(pause)


def _attempt(server: Server, sock: Socket, kinds: Collection[str]) -> paramiko.Transport:
    started = time.monotonic()
    transport = paramiko.Transport(sock)
    try:
        transport.banner_timeout = transport.handshake_timeout = SILENCE
        options = transport.get_security_options()
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds)
        agreed = threading.Event()
        transport.start_client(event=agreed)
        if not agreed.wait(2 * SILENCE + 1) or not transport.is_active():
            raise transport.get_exception() or EOFError("the connection was closed")
        return transport
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        greeted, late = bool(transport.remote_version), time.monotonic() - started >= SILENCE
        if late:
            raise _mute(server, greeted=greeted) from error
        if not greeted and "banner" in str(error):
            raise _Dropped(str(error.__context__ or "") or "no word") from error
        raise NodeError(
            "no SSH conversation came about",
            where=server.node,
            why=f"{server.place}: {error or type(error).__name__}",
            hint=server.try_it,
        ) from error
    except BaseException:
        transport.close()
        raise


def _mute(server: Server, *, greeted: bool) -> NodeError:
    what = "sent its greeting, then nothing" if greeted else "took the connection, then said nothing"
    return NodeError(
        "its sshd does not answer",
        where=server.node,
        why=f"{server.place} {what} for {SILENCE:g} s",
        hint=f"is the machine overloaded, or sshd stopped? look at it on its console, then: {server.try_it}",
    )


def dial(server: Server) -> socket.socket:
    """A TCP connection. Raises NodeError."""
    try:
        return socket.create_connection((server.address, server.port), timeout=DIAL)
    except socket.gaierror as error:
        raise NodeError(
            "the name resolves nowhere",
            where=server.node,
            why=f"{server.address!r}: {error.strerror}",
            hint=f"give its address: {server.node}=10.0.0.1",
        ) from error
    except ConnectionRefusedError as error:
        raise NodeError(
            "the connection was refused",
            where=server.node,
            why=f"nothing listens on {server.place}",
            hint=f"start sshd there, or give its port: {server.node}={server.address}:2222",
        ) from error
    except OSError as error:
        late = isinstance(error, TimeoutError)
        raise Unanswered(
            "it cannot be reached",
            where=server.node,
            why=f"{server.place} did not answer within {DIAL:g} s" if late else f"{server.place}: {error}",
            hint=f"is it on, and the address right? {server.node}=10.0.0.1",
        ) from error
