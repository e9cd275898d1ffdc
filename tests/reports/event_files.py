"""Event files as TensorBoard's writers make them, byte by byte."""

from __future__ import annotations

import struct

import google_crc32c


def record(data: bytes) -> bytes:
    """A record with its checksums."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def event(step: int, time: float = 0.0, **scalars: float) -> bytes:
    """An event with scalars; `__` in a name stands for a slash."""
    values = b"".join(
        _text(1, _text(1, tag.replace("__", "/").encode()) + b"\x15" + struct.pack("<f", value))
        for tag, value in scalars.items()
    )
    return b"\x09" + struct.pack("<d", time) + b"\x10" + _varint(step) + _text(5, values)


def event_file(*events: bytes) -> bytes:
    """A whole file."""
    return b"".join(map(record, (_text(3, b"brain.Event:2"), *events)))


def _text(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _checksum(data: bytes) -> bytes:
    check = google_crc32c.value(data)
    return struct.pack("<I", ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF)
