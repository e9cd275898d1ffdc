"""Cross entropy at the positions that carry a label; logits are computed nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from llmctl_engine.errors import EngineError
from llmctl_engine.labels import IGNORED
from llmctl_engine.models.masks import packed_segments


class LabelledLoss:
    """The model's loss: the sum over labelled positions, divided by the labels of the whole global batch, which makes
    it a token-weighted mean over micro batches and ranks.

    A hook before the output head drops every hidden state whose next token carries no label, so the head, usually the
    largest matrix, and the vocabulary-wide logits exist for answers only. `micro_batches` keeps the unweighted sums
    since the last `take`. A model whose config has a `z_loss_weight` needs the logits of all positions; its term is the
    mean over each text by itself, and counts once for every label of that text, however the texts are batched."""

    def __init__(self, model: Any) -> None:
        head = model.get_output_embeddings()
        if head is None:
            raise EngineError(f"{type(model).__name__} has no output head to train")
        self._z_weight = float(getattr(model.config, "z_loss_weight", None) or 0.0)
        head.register_forward_pre_hook(self._select)
        self._batch: Mapping[str, torch.Tensor] | None = None
        self._sums: list[torch.Tensor] = []

    def expect(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Tell the batch of the forward pass that comes next."""
        self._batch = batch

    def __call__(self, outputs: Any, _labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """transformers' `compute_loss_func`: outputs of the model, labels as in the batch, labels in all."""
        total = self.total(outputs)
        self._sums.append(total.detach())
        mean: torch.Tensor = total / num_items_in_batch
        return mean

    def total(self, outputs: Any) -> torch.Tensor:
        """The sum over the labels of the batch that was told, fp32. Kept nowhere."""
        batch, self._batch = self._batch, None
        if batch is None:
            raise TypeError("outputs of a batch that was not told")
        targets = batch["labels"][:, 1:]
        labelled = targets != IGNORED
        logits = outputs.logits.float()
        if not self._z_weight:
            return functional.cross_entropy(logits, targets[labelled], reduction="sum")
        nll = functional.cross_entropy(logits[labelled], targets[labelled], reduction="sum")
        return nll + self._z_weight * _z_terms(logits, labelled, _texts(batch))

    def take(self) -> list[torch.Tensor]:
        """The loss sums of the micro batches since the last call."""
        taken, self._sums = self._sums, []
        return taken

    def _select(self, _head: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._batch is None:
            return None
        hidden = arguments[0]
        if self._z_weight:
            return (hidden[:, :-1], *arguments[1:])
        return (hidden[:, :-1][self._batch["labels"][:, 1:] != IGNORED], *arguments[1:])


def _texts(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Numbers of the texts of a batch, (batch, length), none used twice; padding is a text of its own."""
    like = batch["labels"]
    inside = packed_segments(batch.get("position_ids"), None)
    if inside is None:
        inside = batch.get("attention_mask", torch.zeros_like(like))
    row = torch.arange(len(like), device=like.device)[:, None] * (like.shape[1] + 1)
    return inside + row


def _z_terms(logits: torch.Tensor, labelled: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """The square of the largest logit, its mean over the positions of each text that predict a token of it, times the
    text's labels; the sum over all texts."""
    within = texts[:, 1:] == texts[:, :-1]
    numbers = texts[:, 1:][within]
    labels, positions = (
        torch.zeros(int(texts.max()) + 1, device=texts.device).index_add_(0, numbers, counted[within].float())
        for counted in (labelled, within)
    )
    peaks = logits.amax(-1).square()[within]
    return (peaks * (labels / positions.clamp(min=1))[numbers]).sum()
