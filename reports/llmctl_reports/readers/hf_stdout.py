"""The dicts that transformers' Trainer prints: `{'loss': 2.5586, ...}`, in version 5 with quoted numbers, in
LLaMA-Factory behind a logging prefix."""

from __future__ import annotations

import ast
import re
from typing import Any

from llmctl_reports.readers.text import console_lines
from llmctl_reports.readers.trainer_state import final_of
from llmctl_reports.runlog import Point, RunLog, Setup, clean, count, number

_DICT = re.compile(r"\{'[^{}]*\}")
_BAR = re.compile(r"(\d+)/(\d+) \[\d+:")


def matches(text: str) -> bool:
    """A dict with a loss or with final metrics stands somewhere."""
    return re.search(r"\{'(?:loss|train_runtime)': ", text) is not None


def read(text: str, source: str) -> RunLog:
    """Dicts to a log. A dict names no step: it is taken from the progress bar before it, else dicts are counted; a
    note says so."""
    dropped: dict[str, int] = {}
    points: list[Point] = []
    last: dict[str, Any] = {}
    bar: int | None = None
    counted = 0
    for line in console_lines(text):
        for found in _BAR.finditer(line):
            bar = int(found[1])
        for match in _DICT.finditer(line):
            entry = _parse(match[0])
            loss = number(entry.get("loss"))
            if "train_loss" in entry or (loss is None and "train_runtime" in entry):
                last = entry
            elif loss is None:
                count(dropped, "evaluation" if any(key.startswith("eval_") for key in entry) else "no loss")
            else:
                step = number(entry.get("step")) or bar
                counted += step is None
                points.append(
                    Point(
                        step=int(step) if step is not None else len(points) + 1,
                        loss=loss,
                        epoch=number(entry.get("epoch")),
                        learning_rate=number(entry.get("learning_rate")),
                        grad_norm=number(entry.get("grad_norm")),
                    )
                )
    return RunLog(
        source=source,
        format="hf_stdout",
        points=clean(points, dropped),
        final=final_of(last),
        setup=Setup(),
        dropped=dropped,
        notes=(
            f"the log names no steps: {counted} of {len(points)} are counted, the others read from the progress bar",
        )
        if points
        else (),
    )


def _parse(text: str) -> dict[str, Any]:
    try:
        found = ast.literal_eval(re.sub(r"\b(nan|inf)\b(?!')", r"'\1'", text))
    except (ValueError, SyntaxError):
        return {}
    return found if isinstance(found, dict) else {}
