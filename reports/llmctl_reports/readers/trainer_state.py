"""transformers' `trainer_state.json`."""

from __future__ import annotations

from typing import Any

from llmctl_reports.errors import ReportError
from llmctl_reports.readers.common import final_beside, final_of, finite, number, parsed, tokens_seen, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import Meta, RunLog


def sniff(text: str) -> bool:
    """Whether it is one JSON object with a log history."""
    return text.lstrip()[:1] == "{" and '"log_history"' in text


def read(source: Source) -> RunLog:
    """All points of the log history. Raises ReportError when the JSON is broken."""
    try:
        state = parsed(source.text())
        history: list[dict[str, Any]] = [entry for entry in state["log_history"] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(
            "the file is no whole JSON",
            where=str(source.path),
            why=str(error),
            hint="a run that was stopped while writing leaves half a file: give its trainer_log.jsonl or its output",
        ) from None
    points = [entry for entry in history if "loss" in entry and whole(entry.get("step")) is not None]
    ends = [final_of(entry) for entry in history if "train_loss" in entry]
    found = Gathering()
    for entry in points:
        found.add(
            int(entry["step"]),
            number(entry["loss"]),
            epoch=finite(entry.get("epoch")),
            learning_rate=finite(entry.get("learning_rate")),
            grad_norm=finite(entry.get("grad_norm")),
            tokens_seen=tokens_seen(entry),
        )
    return RunLog(
        source=str(source.path),
        format="trainer_state.json",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(total_steps=whole(state.get("max_steps"))),
        final=ends[-1] if ends else final_beside(source.path),
    )
