"""One command on one SSH channel: what a login shell prints of its own is left out, and nothing grows for ever."""

from __future__ import annotations

import math
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO
from queue import Empty, SimpleQueue
from typing import Protocol

import paramiko

from llmctl.errors import NodeError

CHUNK = 1 << 15
START = 30.0
"""Seconds within which a login shell must come to the command."""
MOST_NOISE = 2 << 20
"""Bytes that a login shell may print before it comes to the command."""
TALKING = 2.0
"""Seconds of silence after which a login shell no longer counts as one that prints."""
MOST = 64 << 20
"""Bytes of a stream that are kept in memory."""


class Sink(Protocol):
    """Where a stream's content goes."""

    def write(self, data: bytes, /) -> object: ...


class Stream:
    """One stream of a command: what comes after the mark is kept, what comes before it is noise."""

    def __init__(self, mark: bytes, into: Sink | None = None) -> None:
        self.begun = False
        self.endless = False
        self.noise = 0
        self.heard = -math.inf
        self._mark = mark
        self._tail = b""
        self._memory = BytesIO()
        self._into: Sink = into or self._memory

    @property
    def content(self) -> bytes:
        """What was kept in memory."""
        return self._memory.getvalue()

    @property
    def said(self) -> str:
        """The last line of the noise."""
        lines = self._tail.decode("utf-8", "replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def read(self, receive: Callable[[int], bytes]) -> None:
        """Take everything that comes, up to the bounds."""
        while not self.endless and (data := receive(CHUNK)):
            self._take(data)

    def _take(self, data: bytes) -> None:
        if not self.begun:
            self.noise += len(data)
            self.heard = time.monotonic()
            before, mark, data = (self._tail + data).partition(self._mark)
            self.begun = bool(mark)
            self._tail = before[-4096:]
            self.endless = self.noise > MOST_NOISE and not self.begun
        if self.begun:
            self._into.write(data)
            self.endless = self._memory.tell() > MOST


def marked(command: str) -> tuple[str, bytes]:
    """The line that runs `command` with sh after a mark on both streams, and the mark."""
    word = f"llmctl-{secrets.token_hex(8)}"
    begin = rf"printf '\n%s\n' {word}; printf '\n%s\n' {word} >&2; "
    return "sh -c " + shlex.quote(begin + command), f"\n{word}\n".encode()  # no exec: a restricted shell has none


def converse(
    channel: paramiko.Channel,
    command: str,
    stdin: Iterable[bytes],
    *,
    node: str,
    timeout: float,
    drop: Callable[[], None],
    into: Sink | None = None,
    name: str = "",
) -> tuple[int, bytes, bytes]:
    """Give `command` to the node's sh; its exit code and both streams, which are read while it runs, so that no
    window fills up. `drop` must close the whole connection; `into`: where standard output goes instead; `name`: what an
    error calls the command.

    Raises NodeError when the login shell does not come to the command and when there is no end within `timeout`
    seconds or of the output; EOFError and paramiko's errors when the connection is lost."""
    line, mark = marked(command)
    out, err = Stream(mark, into), Stream(mark)
    ended: SimpleQueue[Stream | Exception] = SimpleQueue()
    began = time.monotonic()
    feeder = threading.Thread(target=feed, args=(channel, stdin), daemon=True)

    def ask() -> None:
        try:
            channel.exec_command(line)  # waits without end for a server that stopped
            feeder.start()
            out.read(channel.recv)
            ended.put(out)
        except (paramiko.SSHException, EOFError, OSError) as error:
            ended.put(error)

    def listen() -> None:
        err.read(channel.recv_stderr)
        ended.put(err)

    threads = [threading.Thread(target=ask, daemon=True), threading.Thread(target=listen, daemon=True)]
    open_streams = 2
    try:
        for thread in threads:
            thread.start()
        while open_streams:
            limit = timeout if out.begun else min(START, timeout)
            try:
                stream = ended.get(timeout=max(0.0, began + limit - time.monotonic()))
            except Empty:
                if out.begun and time.monotonic() < began + timeout:
                    continue
                drop()  # a channel's own end would wait for a node that takes nothing in any more
                raise late(node, name or command, timeout) if out.begun else mute(node, limit, out, err) from None
            if isinstance(stream, Exception):
                raise stream
            if stream.endless:
                raise endless(node, stream)
            open_streams -= 1
        left = max(1.0, began + timeout - time.monotonic())
        if not channel.status_event.wait(left) or channel.exit_status < 0:
            raise EOFError("the connection ended before the command did")
    finally:
        channel.close()
        for thread in (*threads, feeder):
            if thread.ident is not None:
                thread.join(1)
    if not out.begun:
        raise barred(node, channel.exit_status, err.said or out.said)
    return channel.exit_status, out.content, err.content


def within(seconds: float, work: Callable[[], None], drop: Callable[[], None]) -> None:
    """Do `work`, which waits without end for a server that stopped. After `seconds` `drop` must close the connection,
    and TimeoutError is raised; what `work` raises is raised here."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            work()
        except (paramiko.SSHException, EOFError, OSError) as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        drop()
        raise TimeoutError(f"no answer within {seconds:g} s")
    if failed:
        raise failed[0]


def feed(channel: paramiko.Channel, pieces: Iterable[bytes]) -> None:
    """Send all pieces and the end of the input."""
    with suppress(OSError, EOFError, paramiko.SSHException):  # the command may end without reading all of it
        for piece in pieces:
            channel.sendall(piece)
        channel.shutdown_write()


def late(node: str, command: str, timeout: float) -> NodeError:
    """The error for a command that did not end."""
    first = command.splitlines()[0][:80] if command else ""
    return NodeError(
        f"no end after {timeout:g} s", where=node, why=f"running: {first}", hint=f"see what hangs: ssh {node} ps axf"
    )


def mute(node: str, seconds: float, *streams: Stream) -> NodeError:
    """The error for a login shell that has not come to the command in time: it hangs, or still prints."""
    last = max(streams, key=lambda stream: stream.heard)
    if time.monotonic() - last.heard < TALKING:
        return endless(node, last)
    said = f"; it printed {last.noise:,} bytes, the last line: {last.said}" if last.noise else ""
    return NodeError(
        "the login shell does not come to our command",
        where=node,
        why=f"the login was good, then nothing within {seconds:.0f} s{said}",
        hint=f"does a line of ~/.bashrc, or the home folder itself, hang there? ssh {node} true",
    )


def endless(node: str, stream: Stream) -> NodeError:
    """The error for output beyond all bounds."""
    if stream.begun:
        return NodeError("the output has no end", where=node, why=f"more than {MOST >> 20} MiB came")
    return NodeError(
        "the login shell prints without end",
        where=node,
        why=f"{stream.noise:,} bytes came before our command; the last line: {stream.said}",
        hint=f"let ~/.bashrc there print nothing for a shell that is not interactive: ssh {node} true",
    )


def barred(node: str, code: int, said: str) -> NodeError:
    """The error for an account that runs something else."""
    return NodeError(
        "the login runs no commands",
        where=node,
        why=f"not sh ran but something that ended with {code}" + (f" and said: {said}" if said else ""),
        hint="is it nologin, a restricted shell or a forced command (sshd_config, authorized_keys)? try "
        f"`ssh {node} sh -c true`, or name another user: USER@{node}",
    )
