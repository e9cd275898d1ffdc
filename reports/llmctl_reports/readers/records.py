"""The records of a TensorBoard event file: length, its checksum, bytes, their checksum."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from llmctl_reports.errors import ReportError
from llmctl_reports.values import BROKEN

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
LARGEST = 16 << 20
"""Bytes of a record that is still looked at; longer ones are pictures and graphs."""


def records(path: Path, checksum: Callable[[bytes], int], dropped: Counter[str]) -> Iterator[bytes]:
    """The records whose checksum is right. One with a wrong checksum is counted and passed over; where the length is
    damaged, or the file ends too soon, the rest is one record that cannot be read. Raises ReportError when the file
    cannot be read. The framing is that of TensorFlow's TFRecord; checksums are CRC32C, turned and shifted."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            while header := file.read(HEADER.size):
                length, check = HEADER.unpack(header) if len(header) == HEADER.size else (size, 0)
                if _masked(checksum(header[:8])) != check or file.tell() + length + FOOTER.size > size:
                    dropped[BROKEN] += 1
                    return
                if length > LARGEST:
                    file.seek(length + FOOTER.size, 1)
                    continue
                data = file.read(length)
                if FOOTER.unpack(file.read(FOOTER.size))[0] == _masked(checksum(data)):
                    yield data
                else:
                    dropped[BROKEN] += 1
    except OSError as error:
        raise ReportError("the log cannot be read", where=str(path), why=error.strerror or str(error)) from None


def _masked(check: int) -> int:
    return ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF
