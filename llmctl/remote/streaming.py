"""A command that talks while it works: lines of its output as they come, its input as it can be had."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import paramiko

from llmctl.errors import NodeError
from llmctl.remote.command import CHUNK, START, Stream, barred, endless, feed, marked, mute, within
from llmctl.remote.transport import CommandResult


class _Lines:
    """Tells each whole line of what is written."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._held = b""

    def write(self, data: bytes) -> int:
        *whole, self._held = (self._held + data).split(b"\n")
        for line in whole:
            self._told(line.decode("utf-8", "replace"))
        return len(data)

    def end(self) -> None:
        if self._held:
            self._told(self._held.decode("utf-8", "replace"))


def stream(
    channel: paramiko.Channel,
    command: str,
    pieces: Iterable[bytes],
    *,
    node: str,
    told: Callable[[str], None],
    idle: float,
    drop: Callable[[], None],
) -> CommandResult:
    """Run `command` while `pieces` go to its standard input; `told` gets each line of its output. The result's stdout
    is empty. `drop` must close the whole connection.

    Raises NodeError when the login shell does not come to the command or no byte has moved for `idle` seconds, EOFError
    and paramiko's errors when the connection is lost; what `pieces` raises ends the command and is raised here."""
    line, mark = marked(command)
    lines = _Lines(told)
    out, err = Stream(mark, lines), Stream(mark)
    failed: list[Exception] = []
    started = time.monotonic()
    moved = [started]

    def sent() -> Iterator[bytes]:
        try:
            for piece in pieces:
                for at in range(0, len(piece), CHUNK):
                    yield piece[at : at + CHUNK]
                    moved[0] = time.monotonic()
        except Exception as error:  # noqa: BLE001 - raised below, by the caller's thread
            failed.append(error)
            channel.close()

    def heard(size: int) -> bytes:
        data = channel.recv(size)
        moved[0] = time.monotonic()
        return data

    threads = [threading.Thread(target=out.read, args=(heard,), daemon=True)]
    threads += [threading.Thread(target=err.read, args=(channel.recv_stderr,), daemon=True)]
    threads += [threading.Thread(target=feed, args=(channel, sent()), daemon=True)]
    try:
        try:
            within(START, lambda: channel.exec_command(line), drop)
        except TimeoutError:
            raise mute(node, START, out, err) from None
        for thread in threads:
            thread.start()
        while threads[0].is_alive():
            until = moved[0] + idle if out.begun else min(started + START, moved[0] + idle)
            threads[0].join(min(1.0, max(0.05, until - time.monotonic())))
            if threads[0].is_alive() and time.monotonic() >= until:
                drop()  # a channel's own end would wait for a peer that takes nothing in any more
                raise _still(node, idle) if out.begun else mute(node, time.monotonic() - started, out, err)
        threads[1].join(5)
        if failed:
            raise failed[0]
        if out.endless or err.endless:
            raise endless(node, out if out.endless else err)
        if not channel.status_event.wait(5) or channel.exit_status < 0:
            raise EOFError("the connection ended before the command did")
    finally:
        channel.close()
        for thread in threads:
            if thread.ident is not None:
                thread.join(1)
    if not out.begun:
        raise barred(node, channel.exit_status, err.said or out.said)
    lines.end()
    return CommandResult(channel.exit_status, "", err.content.decode("utf-8", "replace"))


def _still(node: str, idle: float) -> NodeError:
    return NodeError(
        f"nothing has moved for {idle:g} s", where=node, hint=f"see whether it answers: llmctl check {node}"
    )
