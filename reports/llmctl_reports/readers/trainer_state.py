"""`trainer_state.json` of transformers, with `all_results.json` beside it where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmctl_reports.errors import ReportError
from llmctl_reports.runlog import Final, Point, RunLog, Setup, clean, count, number


def matches(text: str) -> bool:
    """A JSON object with a `log_history`."""
    return text.lstrip().startswith("{") and '"log_history"' in text


def read(text: str, source: str) -> RunLog:
    """The history to a log. Raises ReportError for a file that was cut short."""
    try:
        state = json.loads(text)
        history = state["log_history"]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"is no whole trainer_state.json: {error}", where=source) from error
    dropped: dict[str, int] = {}
    points = []
    last: dict[str, Any] = {}
    for entry in history:
        loss = number(entry.get("loss"))
        if "train_loss" in entry:
            last = entry
        elif loss is None:
            count(dropped, "evaluation" if any(key.startswith("eval_") for key in entry) else "no loss")
        else:
            points.append(
                Point(
                    step=int(entry["step"]),
                    loss=loss,
                    epoch=number(entry.get("epoch")),
                    learning_rate=number(entry.get("learning_rate")),
                    grad_norm=number(entry.get("grad_norm")),
                )
            )
    return RunLog(
        source=source,
        format="trainer_state",
        points=clean(points, dropped),
        final=final_of(last or results_beside(source)),
        setup=Setup(),
        dropped=dropped,
    )


def final_of(values: dict[str, Any]) -> Final:
    """The closing metrics of transformers."""
    return Final(
        train_loss=number(values.get("train_loss")),
        train_runtime=number(values.get("train_runtime")),
        train_samples_per_second=number(values.get("train_samples_per_second")),
        train_steps_per_second=number(values.get("train_steps_per_second")),
        epochs=number(values.get("epoch")),
    )


def results_beside(source: str) -> dict[str, Any]:
    """`all_results.json` in the log's folder; empty without one."""
    path = Path(source).with_name("all_results.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
