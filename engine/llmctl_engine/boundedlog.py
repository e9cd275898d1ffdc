"""The two streams of a process in a log of bounded size; a full disk costs lines and no more. Standard library only."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SEGMENT = 32 << 20
"""Bytes of a log after which a new file begins."""
SEGMENTS = 3
"""Full files that are kept beside the one being written, as `rank0.log.<begin>-<end>`: places in the whole log."""


def take_streams(path: Path) -> None:
    """From now on standard output and standard error of this process go to the log, line by line."""
    sys.stdout.flush()
    sys.stderr.flush()
    _point_to(path)
    sys.stdout, sys.stderr = _text(BoundedLog(path, 1)), _text(BoundedLog(path, 2))


def _text(log: BoundedLog) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(log)
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _point_to(path: Path) -> None:
    """Both streams of this process go to the file, those of its libraries in C too."""
    place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(place, 1)
    os.dup2(place, 2)
    os.close(place)


class BoundedLog(io.RawIOBase):
    """A stream to the log. What a full disk does not take is counted and told later: no rank dies of a line that it
    cannot print. A file that is full makes way for a new one."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self._owner = path, descriptor, os.getpid()
        self._dropped = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: ReadableBuffer) -> int:
        """How many bytes were taken."""
        try:
            if self._dropped:
                note = f"\n[llmctl_engine: {self._dropped} bytes could not be written: the disk was full]\n"
                os.write(self._descriptor, note.encode())
                self._dropped = 0
            taken = os.write(self._descriptor, data)
            if os.fstat(self._descriptor).st_size >= SEGMENT and os.getpid() == self._owner:
                rotate(self._path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            taken = memoryview(data).nbytes
            self._dropped += taken
        return taken


def rotate(path: Path) -> None:
    """Begin a new file, and name the old one by its places in the whole log. Nothing that this process writes meanwhile
    is lost; a process that it forked earlier goes on in the old file."""
    aside = path.with_name(f"{path.name}.new")
    old = os.dup(1)
    try:
        _point_to(aside)
        begin = max((end for _, end, _ in segments(path)), default=0)
        path.rename(path.with_name(f"{path.name}.{begin}-{begin + os.fstat(old).st_size}"))
        aside.rename(path)
    finally:
        os.close(old)
    for _, _, full in segments(path)[:-SEGMENTS]:
        full.unlink()


def segments(path: Path) -> list[tuple[int, int, Path]]:
    """The full files of a log as (begin, end, file), the oldest first."""
    found = []
    for each in path.parent.glob(f"{path.name}.*-*"):
        begin, _, end = each.name[len(path.name) + 1 :].partition("-")
        if begin.isdecimal() and end.isdecimal():
            found.append((int(begin), int(end), each))
    return sorted(found)
