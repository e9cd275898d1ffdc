"""`steps.jsonl`, the bundled engine's own records."""

from __future__ import annotations

import json
from typing import Any

from llmctl_reports.runlog import Final, Point, RunLog, Setup, clean, count, number


def matches(text: str) -> bool:
    """The first line is a record of ours."""
    try:
        first = json.loads(text.partition("\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and first.get("record") == "run"


def read(text: str, source: str) -> RunLog:
    """Records to a log. After a resume the steps behind its checkpoint are superseded."""
    dropped: dict[str, int] = {}
    points: list[Point] = []
    run: dict[str, Any] = {}
    end: dict[str, Any] = {}
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            count(dropped, "broken line")
            continue
        kind = record.get("record") if isinstance(record, dict) else None
        if kind == "run":
            run = record
            kept = [point for point in points if point.step <= record["resumed_from_step"]]
            for _ in range(len(points) - len(kept)):
                count(dropped, "superseded")
            points = kept
        elif kind == "step":
            points.append(_point(record))
        elif kind == "end":
            end = record
        else:
            count(dropped, "broken line")
    return RunLog(
        source=source,
        format="steps",
        points=clean(points, dropped),
        final=Final(
            train_loss=number(end.get("train_loss")),
            train_runtime=number(end.get("train_runtime")),
            train_samples_per_second=number(end.get("train_samples_per_second")),
            train_steps_per_second=number(end.get("train_steps_per_second")),
            epochs=number(end.get("epoch")),
        ),
        setup=Setup(
            device=run.get("device"),
            model=run.get("model"),
            devices=run.get("world_size"),
            global_batch=run.get("global_batch"),
            learning_rate=run.get("learning_rate"),
            scheduler=run.get("scheduler"),
            precision=run.get("precision"),
            seed=run.get("seed"),
            method=f"{run.get('stage')} {run.get('method')}",
        ),
        dropped=dropped,
    )


def _point(record: dict[str, Any]) -> Point:
    loss = number(record.get("loss"))
    return Point(
        step=int(record["step"]),
        loss=float("nan") if loss is None else loss,
        epoch=number(record.get("epoch")),
        learning_rate=number(record.get("learning_rate")),
        grad_norm=number(record.get("grad_norm")),
        seconds=number(record.get("step_seconds")),
        tokens=number(record.get("tokens")),
    )
