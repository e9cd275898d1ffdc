"""What transformers' Trainer prints: dicts of numbers or, since version 5, of text, between progress bars."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from llmctl_reports.readers.common import final_beside, final_of, number, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import Meta, RunLog

DICT = re.compile(rb"\{'[^{}\r\n]*\}")
PAIR = re.compile(rb"'([^']+)'\s*:\s*'?([^,'{}]*)'?")
BAR = re.compile(rb"\|\s*(\d+)/(\d+)\s*\[")
OURS = (b"'loss'", b"'train_runtime'")
TOTAL = re.compile(rb"Total optimization steps\s*=\s*([\d,]+)")
SAMPLES = re.compile(rb"Total train batch size[^=\r\n]*=\s*([\d,]+)")
BAR_REACH = 4096
"""Bytes before a dict in which its progress bar is looked for."""


def sniff(head: str) -> bool:
    """Whether there is a dict with a loss or a run time."""
    return any(_is_ours(match.group()) for match in DICT.finditer(head.encode()))


def read(source: Source) -> RunLog:
    """All points. The step is in the dict, or else that of the progress bar, or else the number of the line."""
    losses, own, bars, totals = Losses(), array("q"), array("q"), array("q")
    final: dict[bytes, bytes] = {}
    told: dict[re.Pattern[bytes], int | None] = {}
    for piece in source.pieces():
        for pattern in (TOTAL, SAMPLES):
            if pattern not in told and (match := pattern.search(piece)):
                told[pattern] = whole(match[1])
        for values, step, total in _dicts(piece):
            if b"train_loss" in values or b"loss" not in values:
                final = values
            if b"loss" in values:
                losses.add(values)
                given = whole(values.get(b"step"))
                own.append(-1 if given is None else given)
                bars.append(step)
                totals.append(total)
    seen = Counter(total for total in totals if total >= 0)
    whole_run = told.get(TOTAL) or (seen.most_common(1)[0][0] if seen else None)
    steps, note = _steps(own, bars, totals, whole_run)
    found = losses.gathered(steps)
    return RunLog(
        source=str(source.path),
        format="HF Trainer output",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(total_steps=whole_run, global_batch=told.get(SAMPLES)),
        final=final_of({key.decode(): value for key, value in final.items()}) if final else final_beside(source.path),
        notes=(note,) if note else (),
    )


class Losses:
    """The values of the dicts in their order, before their steps are known."""

    NAMES = ("loss", "epoch", "learning_rate", "grad_norm")

    def __init__(self) -> None:
        self._columns = {name: array("d") for name in self.NAMES}
        self._keys = [(name.encode(), column) for name, column in self._columns.items()]

    def add(self, values: dict[bytes, bytes]) -> None:
        """One dict."""
        for key, column in self._keys:
            value = number(values.get(key))
            column.append(math.nan if value is None else value)

    def gathered(self, steps: array[int]) -> Gathering:
        """The points with their steps."""
        found = Gathering()
        loss, *extras = (np.array(column) for column in self._columns.values())
        known = (np.where(np.isfinite(column), column, np.nan) for column in extras)
        found.extend(np.array(steps, dtype=np.int64), loss, **dict(zip(self.NAMES[1:], known, strict=True)))
        return found


def _is_ours(text: bytes) -> bool:
    return any(mark in text for mark in OURS)


def _dicts(piece: bytes) -> Iterator[tuple[dict[bytes, bytes], int, int]]:
    """(values, step and total of the progress bar before it, or -1) of every dict."""
    place = step = total = -1
    end = 0
    while (place := piece.find(b"{'", end)) >= 0:
        match = DICT.match(piece, place)
        if match is None or not _is_ours(match[0]):
            end = match.end() if match else place + 2
            continue
        if bar := _last_bar(piece, max(end, place - BAR_REACH), place):
            step, total = int(bar[1]), int(bar[2])
        end = match.end()
        yield {key: value.strip() for key, value in PAIR.findall(match[0])}, step, total


def _last_bar(piece: bytes, start: int, end: int) -> re.Match[bytes] | None:
    while (end := piece.rfind(b"|", start, end)) >= 0:
        if bar := BAR.match(piece, end):
            return bar
    return None


def _steps(own: array[int], bars: array[int], totals: array[int], total: int | None) -> tuple[array[int], str]:
    count = len(own)
    if count and min(own) >= 0:
        return own, ""
    sure = [step for step, of in zip(bars, totals, strict=True) if of == total and step > 0]
    if count and len(sure) == count and all(before < after for before, after in pairwise(sure)):
        return bars, "steps are those of the progress bar"
    every = total // count if total and count else 0
    if every and total == every * count:
        return array("q", range(every, total + 1, every)), f"steps are counted: a line every {every} of {total} steps"
    note = "this output has no sure step numbers: its lines were counted as steps"
    return array("q", range(1, count + 1)), note
