"""LLaMA-Factory's `trainer_log.jsonl`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from llmctl_reports.readers.common import final_beside, finite, number, objects, seconds_of, tokens_seen, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, Meta, RunLog

COUNTER = re.compile(r'\{[^{}\r\n]*"current_steps" *:')


def sniff(text: str) -> bool:
    """Whether a line has LLaMA-Factory's step counter."""
    return COUNTER.search(text) is not None


def read(source: Source) -> RunLog:
    """All points; the final metrics come from `all_results.json` beside it, or from the last line."""
    found = Gathering()
    last: dict[str, Any] = {}
    for values in objects(source, found.dropped):
        step = whole(values.get("current_steps"))
        if step is None:
            found.dropped[BROKEN] += 1
            continue
        last = values
        if "loss" in values:
            found.add(
                step,
                number(values["loss"]),
                epoch=finite(values.get("epoch")),
                learning_rate=finite(values.get("lr", values.get("learning_rate"))),
                grad_norm=finite(values.get("grad_norm")),
                tokens_seen=tokens_seen(values),
            )
    final = final_beside(source.path)
    elapsed = seconds_of(last.get("elapsed_time"))
    ended = last.get("current_steps") == last.get("total_steps")
    if final.train_runtime is None and elapsed and ended:
        final = replace(final, train_runtime=elapsed, train_steps_per_second=last["current_steps"] / elapsed)
    if final.epochs is None and ended:
        final = replace(final, epochs=finite(last.get("epoch")))
    return RunLog(
        source=str(source.path),
        format="trainer_log.jsonl",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(total_steps=whole(last.get("total_steps"))),
        final=final,
    )
