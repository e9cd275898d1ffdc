"""What holds for every file that a reader is given, whatever is in it."""

from __future__ import annotations

import math
import re
import tempfile
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.readers import READERS, read_log
from llmctl_reports.values import RunLog

from tests.reports.event_files import event_file

DIGITS = re.compile(r"\d+")
NUMBER = re.compile(r"[-+]?(?:\d[\d,_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][-+]?\d[\d_]*)?")


def check(data: bytes) -> int:
    """Read the bytes as whatever they look like, then by each reader, then as an event of TensorBoard; the points that
    were found. Raises AssertionError for a point that is not in the text, and lets every error pass that is not of the
    error tree."""
    found = 0
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = Path(folder) / "a.log"
        path.write_bytes(data)
        for name in (None, *READERS):
            with suppress(ReportError):
                log = read_log(path, name)
                hold(log, data)
                found += len(log.points)
        events = event_file(data, data)
        path.write_bytes(events)
        with suppress(ReportError):
            log = read_log(path)
            hold(log, events)
            found += len(log.points)
    return found


def hold(log: RunLog, data: bytes) -> None:
    """A log's points rise, are finite, and none was invented."""
    points = log.points
    assert (np.diff(points.step) > 0).all()
    assert np.isfinite(points.loss).all()
    columns = [column for field in fields(points) if isinstance(column := getattr(points, field.name), np.ndarray)]
    assert {column.size for column in columns} == {points.step.size}
    assert all(count > 0 for count in log.dropped.values())
    assert all(line.isprintable() for line in explain(log)[1:])
    if log.format == "TensorBoard":
        assert set(points.loss.tolist()) <= _binary(data)
        return
    text = data.decode("utf-8", errors="replace")
    assert points.step.size <= len(DIGITS.findall(text))
    told = {value for each in NUMBER.finditer(text) if (value := _value(each[0])) is not None}
    missing = {loss for loss in points.loss.tolist() if loss not in told}
    assert missing <= _parts(text, missing), f"{missing - told} is not in the text"


def _binary(data: bytes) -> set[float]:
    """Every number of four or eight bytes."""
    found: set[float] = set()
    for kind, size in (("<f4", 4), ("<f8", 8)):
        for start in range(size):
            found |= set(np.frombuffer(data[start : start + (len(data) - start) // size * size], dtype=kind).tolist())
    return found


def _parts(text: str, wanted: set[float]) -> set[float]:
    """Those of the wanted numbers that are some part of a number in the text, or an escaped one."""
    if not wanted:
        return set()
    plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", plain)
    found = set()
    for start in range(len(plain)):
        if match := NUMBER.match(plain, start):
            found |= {_value(match[0][:end]) for end in range(1, len(match[0]) + 1)} & wanted
    return {value for value in found if value is not None}


def _value(text: str) -> float | None:
    try:
        value = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
