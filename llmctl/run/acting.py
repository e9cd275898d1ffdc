"""Who acts for a run: at most one process at a time stops, restarts, collects and notes. It holds a lock in the run
folder, which the kernel lets go of when that process ends in whatever way."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from llmctl.run.folder import RunFolder

MOMENT = 0.3
"""Seconds in which somebody who only looked lets go."""


@contextmanager
def acting(folder: RunFolder) -> Iterator[bool]:
    """Try to become the one who acts; False when another process is. The lock is held until the end of the block."""
    handle = os.open(folder.root / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(handle):
            yield False
            return
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        try:
            yield True
        finally:
            os.ftruncate(handle, 0)  # the next one's pid comes a moment after its lock
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    """Whether the lock is ours now. Who only asks who acts holds it for a moment."""
    deadline = time.monotonic() + MOMENT
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def actor(folder: RunFolder) -> int | None:
    """The process id of the one who acts for a run, 0 when it cannot be told; None when nobody acts."""
    path = folder.root / "keeper.lock"
    if not path.exists():
        return None
    with path.open(encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            told = file.read().strip()
            return int(told) if told.isdigit() else 0
    return None
