"""What transformers' Trainer prints: dicts of numbers or, since version 5, of text, between progress bars."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from llmctl_reports.readers.common import TOKENS_SEEN, final_beside, final_of, finite, seconds_of, shown_names, whole
from llmctl_reports.readers.gather import Gathering, view
from llmctl_reports.readers.source import Source
from llmctl_reports.values import Column, Final, Meta, RunLog

DICT = re.compile(rb"\{'[^{}\r\n]*\}")
PAIR = re.compile(rb"'([^']+)'\s*:\s*'?([^,'{}]*)'?")
BAR = re.compile(rb"\|\s*(\d{1,15})/(\d{1,15})\s*\[")
OURS = (b"'loss'", b"'train_runtime'")
TOTAL = re.compile(rb"Total optimization steps\s*=\s*([\d,]+)")
SAMPLES = re.compile(rb"Total train batch size[^=\r\n]*=\s*([\d,]+)")
USED = {b"loss", b"epoch", b"learning_rate", b"grad_norm", b"step"} | {name.encode() for name in TOKENS_SEEN}
TOLD = 100
"""Dicts whose keys are told."""
TOKENS = tuple(name.encode() for name in TOKENS_SEEN)
END = b"***** train metrics *****"
METRIC = re.compile(rb"\b(epoch|train_[a-z_]+)[ \t]+=[ \t]+([^\r\n]*[^\s])")
BAR_REACH = 4096
"""Bytes before a dict in which its progress bar is looked for."""


def sniff(head: str) -> bool:
    """Whether there is a dict with a loss or a run time, or the list of metrics at the end."""
    return END.decode() in head or any(_is_ours(match.group()) for match in DICT.finditer(head.encode()))


def read(source: Source) -> RunLog:
    """All points. The step is in the dict, or else that of the progress bar, or else the number of the line."""
    losses = Losses()
    final: dict[bytes, bytes] = {}
    listed: dict[bytes, bytes] = {}
    at_end = False
    told: dict[re.Pattern[bytes], int | None] = {}
    for piece in source.pieces():
        for pattern in (TOTAL, SAMPLES):
            if pattern not in told and (match := pattern.search(piece)):
                told[pattern] = whole(match[1])
        for values, step, total in _dicts(piece):
            if b"train_loss" in values or b"loss" not in values:
                final = values
            if b"loss" in values:
                losses.add(values, step, total)
        if at_end or END in piece:
            listed.update(METRIC.findall(piece if at_end else piece[piece.find(END) :]))
        at_end = END in piece
    total_steps = told.get(TOTAL) or losses.total
    steps, note = losses.steps(total_steps)
    found = Gathering()
    found.extend(steps, losses.drained())
    return RunLog(
        source=str(source.path),
        format="HF Trainer output",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(total_steps=total_steps, global_batch=told.get(SAMPLES)),
        final=_final(final or listed) or final_beside(source.path),
        notes=(note,) if note else (),
        unused=shown_names(key.decode("utf-8", "replace") for key in losses.others),
    )


def _final(values: dict[bytes, bytes]) -> Final | None:
    """The final metrics of a dict, or of the list `name = value`, which gives the run time in hours."""
    if not values:
        return None
    texts = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in values.items()}
    runtime = texts.get("train_runtime")
    return final_of(texts | {"train_runtime": seconds_of(runtime) or runtime})


class Losses:
    """The values of the dicts in their order, before their steps are known."""

    NAMES = ("loss", "epoch", "learning_rate", "grad_norm")

    def __init__(self) -> None:
        self._columns = {name: array("d") for name in (*self.NAMES, "tokens_seen")}
        self._keys = [(name.encode(), self._columns[name]) for name in self.NAMES]
        self._bars = array("q")
        self._totals: Counter[int] = Counter()
        self._own: array[int] | None = array("q")
        self.others: dict[bytes, None] = {}
        """The keys of the first dicts that no column holds."""

    def add(self, values: dict[bytes, bytes], step: int, total: int) -> None:
        """One dict; `step` and `total` are those of the bar before it, or -1."""
        for key, column in self._keys:
            value = finite(values.get(key))
            column.append(math.nan if value is None else value)
        if (seen := next(filter(None, map(values.get, TOKENS)), None)) is not None:
            tokens = self._columns["tokens_seen"]
            tokens.extend([math.nan] * (len(self._bars) - len(tokens)))
            tokens.append(finite(seen) or math.nan)
        if len(self._bars) < TOLD:
            self.others |= dict.fromkeys(key for key in values if key not in USED)
        self._bars.append(step)
        self._totals[total] += 1
        if self._own is not None:
            own = whole(values.get(b"step"))
            self._own = None if own is None else self._own
            if self._own is not None and own is not None:
                self._own.append(own)

    @property
    def total(self) -> int | None:
        """The steps of the run, as most bars say."""
        told = [(count, total) for total, count in self._totals.items() if total > 0]
        return max(told)[1] if told else None

    def drained(self) -> dict[str, Column]:
        """What the dicts say, which is then held here no longer."""
        self._keys.clear()
        if tokens := self._columns["tokens_seen"]:
            tokens.extend([math.nan] * (len(self._bars) - len(tokens)))
        names = (*self.NAMES, "tokens_seen") if tokens else self.NAMES
        return {name: view(self._columns.pop(name)) for name in names}

    def steps(self, total: int | None) -> tuple[NDArray[np.int64], str]:
        """The steps of the dicts, and what the reader of the report must know of them."""
        count = len(self._bars)
        if self._own is not None:
            return np.array(self._own, dtype=np.int64), ""
        bars = np.array(self._bars, dtype=np.int64)
        if count and self._totals[total or -1] == count and _runs(bars):
            return bars, "steps are those of the progress bar"
        every = total // count if total and count else 0
        if every and total == every * count:
            return every * np.arange(1, count + 1), f"steps are counted: a line every {every} of {total} steps"
        note = "this output has no sure step numbers: its lines were counted as steps"
        return np.arange(1, count + 1), note


def _runs(bars: NDArray[np.int64]) -> bool:
    """Whether these rise as those of one trainer do, or of some one after another; a bar that is drawn late falls by a
    step or two, or stays."""
    rises = np.diff(bars, prepend=0)
    usual = np.median(rises[rises > 0]) if (rises > 0).any() else 1
    return bool(((rises > 0) | ((rises <= -max(usual, 3)) & (bars > 0))).all())


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
