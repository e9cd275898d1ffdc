"""Where a rank's output goes: its own log file, and a small JSON file when it fails. Standard library only, used
before torch is imported, so that a broken torch is told there too."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from pathlib import Path


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
    log = os.open(folder / f"rank{rank()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return folder


def write_error(folder: Path, error: BaseException) -> None:
    """Write `rank<RANK>.error.json`: who failed, with what, when."""
    record = {
        "rank": rank(),
        "node": os.environ.get("LLMCTL_NODE", platform.node()),
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
        "time": time.time(),
    }
    path = folder / f"rank{rank()}.error.json"
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)
