"""`trainer_log.jsonl` of LLaMA-Factory: `learning_rate` until 2023, `lr` since."""

from __future__ import annotations

import json

from llmctl_reports.readers.trainer_state import final_of, results_beside
from llmctl_reports.runlog import Point, RunLog, clean, count, number


def matches(text: str) -> bool:
    """The first line is an object with `current_steps`."""
    try:
        first = json.loads(text.partition("\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "current_steps" in first


def read(text: str, source: str) -> RunLog:
    """Lines to a log."""
    dropped: dict[str, int] = {}
    points = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            step = int(entry["current_steps"])
        except (ValueError, KeyError, TypeError):
            count(dropped, "broken line")
            continue
        loss = number(entry.get("loss"))
        if loss is None:
            count(dropped, "evaluation" if entry.get("eval_loss") is not None else "no loss")
            continue
        rate = entry.get("lr", entry.get("learning_rate"))
        points.append(Point(step=step, loss=loss, epoch=number(entry.get("epoch")), learning_rate=number(rate)))
    return RunLog(
        source=source,
        format="trainer_log",
        points=clean(points, dropped),
        final=final_of(results_beside(source)),
        dropped=dropped,
    )
