"""Iteration lines of Megatron-LM and what came of it (Megatron-DeepSpeed, ModelLink, MindSpeed-LLM)."""

from __future__ import annotations

import re

from llmctl_reports.readers.text import console_lines
from llmctl_reports.runlog import Point, RunLog, Setup, clean, count, number

_LINE = re.compile(r"\biteration\s+(\d+)/\s*(\d+) \|(.*)")
_PAIR = re.compile(r"\s*([^|:]+):\s*([^|]*)")


def matches(text: str) -> bool:
    """An iteration line stands somewhere."""
    return any(
        "lm loss" in m[3] or "lm-loss" in m[3] or "elapsed time per iteration" in m[3] for m in _LINE.finditer(text)
    )


def read(text: str, source: str) -> RunLog:
    """Iteration lines to a log. A line without a loss is a skipped iteration, or, where none was skipped, a loss that
    was not finite, which Megatron leaves out."""
    dropped: dict[str, int] = {}
    points = []
    batch: float | None = None
    rate: float | None = None
    for line in console_lines(text):
        match = _LINE.search(line)
        if match is None:
            continue
        values = {key.strip().replace("-", " "): value.strip() for key, value in _PAIR.findall(match[3])}
        batch = number(values.get("global batch size")) or batch
        loss = number(values.get("lm loss"))
        if loss is None:
            skipped = number(values.get("number of skipped iterations")) or 0
            count(dropped, "skipped iteration" if skipped else "not finite")
            continue
        rate = number(values.get("learning rate"))
        scale, norm = number(values.get("loss scale")), number(values.get("grad norm"))
        elapsed = values.get("elapsed time per iteration (ms)", values.get("elapsed time per iteration", ""))
        milliseconds = number(elapsed.split("/")[0])
        points.append(
            Point(
                step=int(match[1]),
                loss=loss,
                learning_rate=rate,
                # DeepSpeed keeps the norm to itself: 0 beside a scale of -1 is a placeholder.
                grad_norm=None if norm == 0 and scale == -1 else norm,
                seconds=None if milliseconds is None else milliseconds / 1000,
            )
        )
    return RunLog(
        source=source,
        format="megatron",
        points=clean(points, dropped),
        setup=Setup(global_batch=None if batch is None else int(batch)),
        dropped=dropped,
    )
