"""Readers: one log format a file, found by what a text looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from llmctl_reports.errors import ReportError
from llmctl_reports.readers import hf_stdout, megatron, steps, trainer_log, trainer_state
from llmctl_reports.runlog import RunLog


class Reader(Protocol):
    """One format. `matches` looks at a text, `read` makes the log of it."""

    def matches(self, text: str) -> bool: ...

    def read(self, text: str, source: str) -> RunLog: ...


READERS: dict[str, Reader] = {
    "steps": steps,
    "trainer_state": trainer_state,
    "trainer_log": trainer_log,
    "megatron": megatron,
    "hf_stdout": hf_stdout,
}
"""In the order in which they are tried: the exact ones first."""

IN_FOLDER = ("output/steps.jsonl", "steps.jsonl", "output/trainer_state.json", "trainer_state.json",
             "output/trainer_log.jsonl", "trainer_log.jsonl")  # fmt: skip
"""What is looked for in a folder, the best first."""


def read_log(path: Path) -> RunLog:
    """The log at `path`, a file or a run's folder. Raises ReportError when it cannot be read or holds no loss."""
    if path.is_dir():
        found = next((path / name for name in IN_FOLDER if (path / name).is_file()), None)
        if found is None:
            raise ReportError("no log lies there", where=str(path), hint=f"looked for {', '.join(IN_FOLDER)}")
        path = found
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ReportError("cannot be read", where=str(path), hint=error.strerror or str(error)) from error
    for reader in READERS.values():
        if reader.matches(text):
            log = reader.read(text, str(path))
            if not log.points:
                raise ReportError(
                    f"holds no loss, read as {log.format}",
                    where=str(path),
                    hint=", ".join(f"{n} {reason}" for reason, n in log.dropped.items())
                    or "is the run at its first step?",
                )
            return log
    raise ReportError("is in none of the formats", where=str(path), hint=f"formats: {', '.join(READERS)}")
