"""Where a rank's output goes: its own log file of bounded size, and a small JSON file when it fails. Standard library
only, used before torch is imported, so that a broken torch is told there too."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from contextlib import suppress
from pathlib import Path

from llmctl_engine import boundedlog

RESERVED = 64 * 1024
"""Bytes kept free for the error file: it can be written on a full disk too."""


def rank() -> int:
    """The global rank that the launcher gave, 0 without one."""
    return int(os.environ.get("RANK", "0"))


def redirect() -> Path | None:
    """Send this process's output to `$LLMCTL_LOG_DIR/rank<RANK>.log` and return that folder; without the variable
    nothing changes."""
    given = os.environ.get("LLMCTL_LOG_DIR")
    if not given:
        return None
    folder = Path(given)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"rank{rank()}.error.json").unlink(missing_ok=True)
    with suppress(OSError):  # then the error file has to find its own room
        _reserved(folder).write_bytes(b" " * RESERVED)
    boundedlog.take_streams(folder / f"rank{rank()}.log")
    return folder


def write_error(folder: Path, error: BaseException) -> None:
    """Write `rank<RANK>.error.json`: who failed, with what, when."""
    record = {
        "rank": rank(),
        "node": os.environ.get("LLMCTL_NODE", platform.node()),
        "type": type(error).__name__,
        "message": str(error)[: RESERVED // 16],
        "traceback": "".join(traceback.format_exception(error))[-RESERVED // 8 :],
        "time": time.time(),
    }
    aside = _reserved(folder)
    with aside.open("r+b" if aside.exists() else "wb") as file:
        file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        file.truncate()
    aside.replace(folder / f"rank{rank()}.error.json")


def release(folder: Path) -> None:
    """Give back the room of an error file that was not needed."""
    _reserved(folder).unlink(missing_ok=True)


def _reserved(folder: Path) -> Path:
    return folder / f".rank{rank()}.error"
