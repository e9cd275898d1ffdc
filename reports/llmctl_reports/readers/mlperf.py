"""MLPerf's `:::MLLOG` events: losses by samples, the optimizer step from these and the global batch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llmctl_reports.readers.common import finite, number, parsed, text_or_none, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, Final, Meta, RunLog

EVENT = re.compile(r":::MLLOG (\{.*\})")
LOSSES = ("train_loss", "reduced_train_loss")


def sniff(text: str) -> bool:
    """Whether there is an event."""
    return ":::MLLOG " in text


def read(source: Source) -> RunLog:
    """All training losses; `tracked_stats` carries them too in some submissions."""
    found, said = Gathering(), dict[str, Any]()
    before: tuple[int, float] | None = None
    for event in _events(source, found):
        key, value, about = str(event.get("key")), event.get("value"), event.get("metadata")
        about = about if isinstance(about, dict) else {}
        samples = whole(about.get("samples_count", about.get("step")))
        losses = value if isinstance(value, dict) else {key: value}
        loss = next((losses[name] for name in LOSSES if name in losses), None)
        if loss is None or samples is None:
            said |= value if isinstance(value, dict) else {key: value}
            continue
        step = samples // (whole(said.get("global_batch_size")) or 1)
        now = finite(event.get("time_ms"))
        seconds = None
        if before is not None and now is not None and step > before[0]:
            seconds = (now - before[1]) / 1000 / (step - before[0])
        found.add(step, number(loss), learning_rate=finite(about.get("lr")), seconds=seconds)
        before = (step, now) if now is not None else None
    batch = whole(said.get("global_batch_size"))
    return RunLog(
        source=str(source.path),
        format="MLPerf",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(
            global_batch=batch,
            model=text_or_none(said.get("submission_benchmark")),
            learning_rate=finite(said.get("opt_base_learning_rate")),
            seed=whole(said.get("seed")),
        ),
        final=Final(train_samples_per_second=finite(said.get("throughput")) or None),
        notes=() if batch else ("no global batch in this log: its points are at samples, not at steps",),
    )


def _events(source: Source, found: Gathering) -> Iterator[dict[str, Any]]:
    for match in filter(None, map(EVENT.search, source.lines())):
        try:
            event = parsed(match[1])
        except ValueError:
            found.dropped[BROKEN] += 1
            continue
        if isinstance(event, dict):
            yield event
