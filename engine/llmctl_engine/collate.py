"""Examples to one padded batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from llmctl_engine.labels import IGNORED

MULTIPLE = 8
"""Lengths are padded to this multiple, as LLaMA-Factory does for sft; matrix units like it."""


@dataclass(frozen=True)
class Collator:
    """Pads on the right. A batch holds `input_ids`, `attention_mask`, `labels` and `index`, all int64, the first three
    of shape (micro batch, padded length)."""

    pad_id: int
    multiple: int = MULTIPLE

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in items)
        length = -(-longest // self.multiple) * self.multiple
        # Nothing predicts the first token, so its label counts nowhere.
        labels = [[IGNORED, *item["labels"][1:]] for item in items]
        return {
            "input_ids": _padded([item["input_ids"] for item in items], length, self.pad_id),
            "attention_mask": _padded([[1] * len(item["input_ids"]) for item in items], length, 0),
            "labels": _padded(labels, length, IGNORED),
            "index": torch.tensor([item["index"] for item in items]),
        }


def _padded(rows: list[list[int]], length: int, value: int) -> torch.Tensor:
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])
