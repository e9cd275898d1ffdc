"""Cross entropy at the positions that carry a label; logits are computed nowhere else."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from llmctl_engine.errors import EngineError
from llmctl_engine.labels import IGNORED
from llmctl_engine.models.heads import z_loss


class LabelledLoss:
    """The model's loss: the sum over labelled positions, divided by the labels of the whole global batch, which makes
    it a token-weighted mean over micro batches and ranks.

    A hook before the output head drops every hidden state whose next token carries no label, so the head, usually the
    largest matrix, and the vocabulary-wide logits exist for answers only. `micro_batches` keeps the unweighted sums
    since the last `take`. A model whose config has a `z_loss_weight` needs the logits of all positions, and its term
    counts once for every label."""

    def __init__(self, model: Any) -> None:
        head = model.get_output_embeddings()
        if head is None:
            raise EngineError(f"{type(model).__name__} has no output head to train")
        self._z_weight = float(getattr(model.config, "z_loss_weight", None) or 0.0)
        head.register_forward_pre_hook(self._select)
        self._labels: torch.Tensor | None = None
        self._sums: list[torch.Tensor] = []

    def expect(self, labels: torch.Tensor) -> None:
        """Tell the labels (batch, length) of the forward pass that comes next."""
        self._labels = labels

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """transformers' `compute_loss_func`: outputs of the model, labels (batch, length), labels in all."""
        targets = labels[:, 1:]
        labelled = targets != IGNORED
        targets, logits = targets[labelled], outputs.logits.float()
        if self._z_weight:
            term = self._z_weight * z_loss(logits) * len(targets)
            total = term + functional.cross_entropy(logits[labelled], targets, reduction="sum")
        else:
            total = functional.cross_entropy(logits, targets, reduction="sum")
        self._sums.append(total.detach())
        self._labels = None
        mean: torch.Tensor = total / num_items_in_batch
        return mean

    def take(self) -> list[torch.Tensor]:
        """The loss sums of the micro batches since the last call."""
        taken, self._sums = self._sums, []
        return taken

    def _select(self, _head: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._labels is None:
            return None
        hidden = arguments[0]
        if self._z_weight:
            return (hidden[:, :-1], *arguments[1:])
        return (hidden[:, :-1][self._labels[:, 1:] != IGNORED], *arguments[1:])
