"""A log file in pieces that end where a line ends, so that no reader needs the whole of it in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from llmctl_reports.errors import ReportError

PIECE = 1 << 20
"""Bytes read at once."""
LONGEST = 16 << 20
"""Bytes after which a line is cut: no trainer writes such a line."""
ENTIRE = 1 << 30
"""Bytes of the largest file that is taken as one value."""
ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Source:
    """One log file. Raises ReportError when it cannot be read."""

    path: Path
    more: tuple[Path, ...] = ()
    """Further files of the same log, where a format has several; they go on where this one ends."""

    @cached_property
    def head(self) -> str:
        """The first piece, whole lines."""
        return _text(next(self.pieces(), b""))

    def pieces(self) -> Iterator[bytes]:
        """Bytes without colours, cut at the ends of lines: progress bars return the carriage without a new line."""
        rest = b""
        try:
            with self.path.open("rb") as file:
                while data := file.read(PIECE):
                    data = rest + data
                    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
                    if not end and len(data) < LONGEST:
                        rest = data
                        continue
                    end = end or len(data)
                    rest = data[end:]
                    yield _plain(data[:end])
        except OSError as error:
            raise ReportError(
                "the log cannot be read", where=str(self.path), why=error.strerror or str(error)
            ) from None
        if rest:
            yield _plain(rest)

    def lines(self) -> Iterator[str]:
        """The lines that are not empty."""
        for piece in self.pieces():
            yield from filter(None, re.split(r"[\r\n]+", _text(piece)))

    def text(self) -> str:
        """The whole file. Raises ReportError when it is too large to be one value."""
        if self.path.stat().st_size > ENTIRE:
            raise ReportError("the file is too large for its format", where=str(self.path))
        return "".join(map(_text, self.pieces()))


def _plain(piece: bytes) -> bytes:
    return ANSI.sub(b"", piece) if b"\x1b" in piece else piece


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", errors="replace")
