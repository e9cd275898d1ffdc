"""Our engine's own records: `output/steps.jsonl`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmctl_reports.readers.common import final_of, finite, number, settle, supersede, text_or_none, whole
from llmctl_reports.values import BROKEN, Final, Meta, Record, RunLog


def sniff(text: str) -> bool:
    """Whether the first line is a record of ours."""
    return '"record"' in text.lstrip()[:400].split("\n", 1)[0]


def read(text: str, path: Path) -> RunLog:
    """All steps. A `run` record that resumes at step N ends what was done after N before it."""
    dropped: Counter[str] = Counter()
    kept: list[Record] = []
    meta, final = Meta(), Final()
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            values = json.loads(line)
        except ValueError:
            dropped[BROKEN] += 1
            continue
        kind = values.get("record") if isinstance(values, dict) else None
        if kind == "run":
            meta, final = _meta(values), Final()
            by_step = {record.step: record for record in kept}
            supersede(by_step, (whole(values.get("resumed_from_step")) or 0) + 1, dropped)
            kept = list(by_step.values())
        elif kind == "end":
            final = final_of(values)
        elif kind == "step" and (step := whole(values.get("step"))) is not None:
            kept.append(_record(step, values))
        else:
            dropped[BROKEN] += 1
    records = settle(kept, dropped)
    return RunLog(
        source=str(path), format="steps.jsonl", records=records, dropped=dict(dropped), meta=meta, final=final
    )


def _record(step: int, values: Mapping[str, Any]) -> Record:
    loss = number(values.get("loss"))
    return Record(
        step=step,
        loss=float("nan") if loss is None else loss,
        epoch=finite(values.get("epoch")),
        learning_rate=finite(values.get("learning_rate")),
        grad_norm=finite(values.get("grad_norm")),
        seconds=finite(values.get("step_seconds")),
        tokens=finite(values.get("tokens")),
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
