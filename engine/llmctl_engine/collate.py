"""Rows of samples to one batch: padded, packed side by side, or all in one row for flash kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from llmctl_engine.labels import IGNORED
from llmctl_engine.packing import MULTIPLE

OWN = ("index", "tokens")
"""What a batch tells the engine beside what the model takes: the number of each row, and how many of the batch's tokens
are no padding."""

Sample = Mapping[str, Sequence[int] | np.ndarray[Any, Any]]
Batch = dict[str, Any]


class Samples(Protocol):
    """Numbered samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sample:
        """`input_ids` and `labels` of the same length."""

    def place(self, number: int) -> str:
        """Where a sample came from."""


class Packs(Protocol):
    """The numbers of the samples of every pack."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sequence[int] | np.ndarray[Any, Any]: ...

    def __iter__(self) -> Iterator[Sequence[int] | np.ndarray[Any, Any]]: ...


class BatchRows:
    """A map-style dataset of torch: what one place of a batch holds, a sample or those of a pack, and its number."""

    def __init__(self, samples: Samples, packs: Packs | None) -> None:
        self.samples, self.packs = samples, packs

    def __len__(self) -> int:
        return len(self.samples) if self.packs is None else len(self.packs)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"samples": [self.samples[held] for held in self._held(number)], "index": number}

    def places(self, number: int) -> list[str]:
        """Where the samples of a row came from."""
        return [self.samples.place(held) for held in self._held(number)]

    def _held(self, number: int) -> Sequence[int] | np.ndarray[Any, Any]:
        return [number] if self.packs is None else self.packs[number]


class Collator(Protocol):
    """Items of `BatchRows` to a batch: `input_ids` and `labels`, int64 of shape (rows, length), what tells the model
    the borders of texts, and `OWN`."""

    def __call__(self, items: list[dict[str, Any]], /) -> Batch: ...


@dataclass(frozen=True)
class Padded:
    """One sample a row, padded on the right and masked there."""

    pad_id: int
    multiple: int = MULTIPLE

    def __call__(self, items: list[dict[str, Any]]) -> Batch:
        rows = [_row(item["samples"]) for item in items]
        batch = _batch(rows, items, _length(rows, self.multiple), self.pad_id)
        mask = torch.zeros_like(batch["input_ids"])
        for line, (ids, _, _) in zip(mask, rows, strict=True):
            line[: len(ids)] = 1
        return batch | {"attention_mask": mask}


@dataclass(frozen=True)
class Packed:
    """Several samples a row. `position_ids` start again at each, which tells eager and sdpa attention, and the models'
    own filters, that none sees another; the padding behind them is one text more, which nobody sees."""

    pad_id: int
    multiple: int = MULTIPLE

    def __call__(self, items: list[dict[str, Any]]) -> Batch:
        rows = [_row(item["samples"]) for item in items]
        length = _length(rows, self.multiple)
        positions = [np.concatenate((told, np.arange(length - len(told)))) for _, _, told in rows]
        return _batch(rows, items, length, self.pad_id) | {"position_ids": torch.from_numpy(np.stack(positions))}


@dataclass(frozen=True)
class Flat:
    """All samples of the batch in one row without padding, for flash kernels of variable length. They take the borders
    from `cu_seq_lens`, int32; in several rows they would overlook them."""

    def __call__(self, items: list[dict[str, Any]]) -> Batch:
        samples = [sample for item in items for sample in item["samples"]]
        row = _row(samples)
        lengths = [len(sample["input_ids"]) for sample in samples]
        borders = torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32))
        told = {
            "position_ids": torch.from_numpy(row[2])[None],
            **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), borders),
            **dict.fromkeys(("max_length_q", "max_length_k"), max(lengths)),
        }
        return _batch([row], items, len(row[0]), 0) | told


def collator_for(packing: str, attention: str, pad_id: int, multiple: int = MULTIPLE) -> Collator:
    """The collator for a way of packing and the model's implementation of attention."""
    if packing != "exact":
        return Padded(pad_id, multiple)
    return Flat() if "flash" in attention else Packed(pad_id, multiple)


Row = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Ids, labels and positions of a row, int64."""


def _row(samples: Iterable[Sample]) -> Row:
    ids, labels, positions = [], [], []
    for sample in samples:
        ids.append(np.asarray(sample["input_ids"], dtype=np.int64))
        # Nothing predicts the first token, so its label counts nowhere.
        labels.append(np.asarray([IGNORED, *sample["labels"][1:]], dtype=np.int64))
        positions.append(np.arange(len(ids[-1])))
    return np.concatenate(ids), np.concatenate(labels), np.concatenate(positions)


def _length(rows: Sequence[Row], multiple: int) -> int:
    return -(-max(len(ids) for ids, _, _ in rows) // multiple) * multiple


def _batch(rows: Sequence[Row], items: Sequence[Mapping[str, Any]], length: int, pad_id: int) -> Batch:
    ids, labels = np.full((len(rows), length), pad_id), np.full((len(rows), length), IGNORED)
    for number, (own_ids, own_labels, _) in enumerate(rows):
        ids[number, : len(own_ids)], labels[number, : len(own_labels)] = own_ids, own_labels
    return {
        "input_ids": torch.from_numpy(ids),
        "labels": torch.from_numpy(labels),
        "index": torch.tensor([item["index"] for item in items]),
        "tokens": torch.tensor([sum(len(own_ids) for own_ids, _, _ in rows)]),
    }
