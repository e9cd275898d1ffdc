"""Our engine's own records: `output/steps.jsonl`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmctl_reports.readers.common import final_of, finite, number, objects, text_or_none, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, Final, Meta, RunLog

RECORD = re.compile(r'\{"record": *"(?:run|step|end)"')


def sniff(text: str) -> bool:
    """Whether a line is a record of ours."""
    return RECORD.search(text) is not None


def read(source: Source) -> RunLog:
    """All steps. A `run` record that resumes at step N ends what was done after N before it."""
    found = Gathering()
    meta, final = Meta(), Final()
    before: int = 0
    seen: float | None = 0.0
    for values in objects(source, found.dropped):
        kind = values.get("record")
        if kind == "run":
            meta, final = _meta(values), Final()
            before = whole(values.get("resumed_from_step")) or 0
            found.go_back(before)
            seen = found.value(before, "tokens_seen") if before else 0.0
        elif kind == "end":
            final = final_of(values)
        elif kind == "step" and (step := whole(values.get("step"))) is not None:
            # With their padding, as other trainers count them; after a lost line nobody knows how many there were.
            padded = finite(values.get("padded_tokens")) if step == before + 1 else None
            seen = seen + padded if seen is not None and padded is not None else None
            before = step
            _add(found, step, values, seen)
        else:
            found.dropped[BROKEN] += 1
    return RunLog(
        source=str(source.path),
        format="steps.jsonl",
        points=found.points(),
        dropped=found.dropped,
        meta=meta,
        final=final,
    )


def _add(found: Gathering, step: int, values: Mapping[str, Any], seen: float | None) -> None:
    found.add(
        step,
        number(values.get("loss")),
        epoch=finite(values.get("epoch")),
        learning_rate=finite(values.get("learning_rate")),
        grad_norm=finite(values.get("grad_norm")),
        seconds=finite(values.get("step_seconds")),
        tokens=finite(values.get("tokens")),
        tokens_seen=seen,
    )


def _meta(values: Mapping[str, Any]) -> Meta:
    return Meta(
        device=text_or_none(values.get("device")),
        world_size=whole(values.get("world_size")),
        global_batch=whole(values.get("global_batch")),
        model=text_or_none(values.get("model")),
        stage=text_or_none(values.get("stage")),
        method=text_or_none(values.get("method")),
        precision=text_or_none(values.get("precision")),
        learning_rate=finite(values.get("learning_rate")),
        scheduler=text_or_none(values.get("scheduler")),
        seed=whole(values.get("seed")),
        total_steps=whole(values.get("total_steps")),
    )
