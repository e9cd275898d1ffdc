"""LLaMA-Factory's `trainer_log.jsonl`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmctl_reports.readers.common import final_beside, finite, number, parsed, seconds_of, tokens_seen, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, Meta, RunLog


def sniff(text: str) -> bool:
    """Whether the first line has LLaMA-Factory's step counter."""
    return '"current_steps"' in text.lstrip()[:2000].split("\n", 1)[0]


def read(source: Source) -> RunLog:
    """All points; the final metrics come from `all_results.json` beside it, or from the last line."""
    found = Gathering()
    last: dict[str, Any] = {}
    for line in source.lines():
        try:
            values = parsed(line)
            step = int(values["current_steps"])
        except (ValueError, KeyError, TypeError):
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
