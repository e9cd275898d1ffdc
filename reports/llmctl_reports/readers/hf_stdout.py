"""What transformers' Trainer prints: dicts of numbers or, since version 5, of text, between progress bars."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from llmctl_reports.readers.common import final_beside, final_of, finite, lines_of, number, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.values import Final, Meta, RunLog

DICT = re.compile(r"\{'[^{}]*\}")
PAIR = re.compile(r"'([^']+)'\s*:\s*'?([^,'{}]*)'?")
TOKEN = re.compile(rf"(?P<dict>{DICT.pattern})|\|\s*(?P<done>\d+)/(?P<total>\d+)\s*\[")
TOTAL = re.compile(r"Total optimization steps\s*=\s*([\d,]+)")
SAMPLES = re.compile(r"Total train batch size[^=\n]*=\s*([\d,]+)")


@dataclass(frozen=True)
class _Point:
    values: dict[str, str]
    step: int | None
    """What the progress bar before it says."""
    total: int | None


def sniff(text: str) -> bool:
    """Whether there is a dict with a loss or a run time."""
    return any(_is_ours(match.group()) for match in DICT.finditer(text))


def read(text: str, path: Path) -> RunLog:
    """All points. The step is in the dict, or else that of the progress bar, or else the number of the line."""
    points = list(_points(text))
    losses = [point for point in points if "loss" in point.values]
    ends = [point.values for point in points if "train_loss" in point.values or "loss" not in point.values]
    totals = Counter(point.total for point in losses if point.total is not None)
    told = TOTAL.search(text)
    total = whole(told.group(1)) if told else None
    if total is None and totals:
        total = totals.most_common(1)[0][0]
    steps, note = _steps(losses, total)
    found = Gathering()
    for step, point in zip(steps, losses, strict=True):
        _add(found, step, point.values)
    batch = SAMPLES.search(text)
    return RunLog(
        source=str(path),
        format="HF Trainer output",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(total_steps=total, global_batch=whole(batch.group(1)) if batch else None),
        final=_final(ends, path),
        notes=(note,) if note else (),
    )


def _is_ours(text: str) -> bool:
    return "'loss'" in text or "'train_runtime'" in text


def _points(text: str) -> Iterator[_Point]:
    step = total = None
    for line in lines_of(text):
        for match in TOKEN.finditer(line):
            if match["done"] is not None:
                step, total = int(match["done"]), int(match["total"])
            elif _is_ours(match["dict"]):
                yield _Point({key: value.strip() for key, value in PAIR.findall(match["dict"])}, step, total)


def _steps(losses: list[_Point], total: int | None) -> tuple[list[int], str]:
    own = [whole(point.values.get("step")) for point in losses]
    if losses and None not in own:
        return [step for step in own if step is not None], ""
    every = total // len(losses) if total and losses else 0
    bars = [point.step for point in losses if point.total == total and point.step]
    if len(bars) == len(losses) and all(before < after for before, after in pairwise(bars)):
        return bars, "steps are those of the progress bar"
    if every and total == every * len(losses):
        return [
            every * (i + 1) for i in range(len(losses))
        ], f"steps are counted: a line every {every} of {total} steps"
    return list(range(1, len(losses) + 1)), "this output has no sure step numbers: its lines were counted as steps"


def _final(ends: list[dict[str, str]], path: Path) -> Final:
    return final_of(ends[-1]) if ends else final_beside(path)


def _add(found: Gathering, step: int, values: dict[str, str]) -> None:
    found.add(
        step,
        number(values["loss"]),
        epoch=finite(values.get("epoch")),
        learning_rate=finite(values.get("learning_rate")),
        grad_norm=finite(values.get("grad_norm")),
    )
