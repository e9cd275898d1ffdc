"""Which samples share a row: whole samples side by side, or the old joined texts. Pure; needs numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

Ids = list[int]

MULTIPLE = 8
"""Rows are padded to this multiple, as LLaMA-Factory does for sft; matrix units like it."""

MAP_BATCH = 1000
"""LLaMA-Factory's old `sft_packing` joined so many samples, then began anew."""


def pack(lengths: Sequence[int] | np.ndarray[Any, Any], cutoff_len: int) -> Iterator[list[int]]:
    """The numbers of the samples of each row, every sample in exactly one row of at most `cutoff_len` tokens.

    A row is filled with the longest sample that still fits, until none does; of equal ones the last comes first. So
    does LLaMA-Factory's neat packing, which however begins anew after every 1000 rows of the data. Raises ValueError
    for a length below 1 or above `cutoff_len`, when the first row is asked for."""
    told = np.asarray(lengths, dtype=np.int64)
    if told.size == 0:
        return
    if told.min() < 1 or told.max() > cutoff_len:
        raise ValueError(f"lengths from {told.min()} to {told.max()} do not fit in rows of {cutoff_len}")
    order = np.argsort(told, kind="stable").data
    """Samples by length; those of one length lie side by side, and its last one still free is at `ends[length] - 1`."""
    ends = np.cumsum(np.bincount(told, minlength=cutoff_len + 1)).tolist()
    begins = [0, *ends[:-1]]
    below = list(range(cutoff_len + 1))
    placed = 0
    while placed < len(order):
        row: list[int] = []
        room = cutoff_len
        while length := _longest(below, ends, begins, room):
            ends[length] -= 1
            row.append(order[ends[length]])
            room -= length
        placed += len(row)
        yield row


def _longest(below: list[int], ends: list[int], begins: list[int], room: int) -> int:
    """The greatest length up to `room` of which a sample is free, 0 for none. `below` leads past lengths that are used
    up; every walk shortens it for the next."""
    found = room
    while True:
        while below[found] != found:
            below[found] = below[below[found]]
            found = below[found]
        if found == 0 or ends[found] > begins[found]:
            return found
        below[found] = found - 1


@dataclass(frozen=True)
class Joined:
    """Rows of joined texts, ids and labels of each, and how many tokens filled none."""

    rows: list[tuple[Ids, Ids]]
    dropped: int


def join(samples: Iterable[tuple[Ids, Ids]], cutoff_len: int, end: int | None) -> Iterator[Joined]:
    """Samples one after the other, without borders, cut to rows of exactly `cutoff_len` wherever that falls. As the old
    `sft_packing`: after every 1000 samples the partial row is dropped, and only there stands the `end` of a template
    with efficient EOS. What comes of each 1000 samples, in their order."""
    left = iter(samples)
    ending = [] if end is None else [end]
    while batch := list(islice(left, MAP_BATCH)):
        ids = [i for sample, _ in batch for i in sample] + ending
        labels = [i for _, sample in batch for i in sample] + ending
        whole = len(ids) // cutoff_len * cutoff_len
        cuts = [slice(start, start + cutoff_len) for start in range(0, whole, cutoff_len)]
        yield Joined([(ids[cut], labels[cut]) for cut in cuts], len(ids) - whole)


def padding(lengths: Sequence[int] | np.ndarray[Any, Any], micro_batch: int) -> float:
    """The share of padding, 0 to 1, that is to be expected where rows of these lengths are drawn at random into micro
    batches and padded to the longest of each, and that to a `MULTIPLE`."""
    told = np.asarray(lengths, dtype=np.int64)
    counts = np.bincount(told)
    padded = -(-np.arange(len(counts)) // MULTIPLE) * MULTIPLE
    # How likely each length is the longest of its batch, drawn with replacement.
    shares = np.diff((np.cumsum(counts) / len(told)) ** micro_batch, prepend=0)
    return max(0.0, float(1 - told.mean() / (padded * shares).sum()))  # full rows differ from 1 by rounding
