"""Baichuan 2's output head and the term that its loss may carry."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class NormHead(nn.Linear):
    """Logits against rows of length 1. The weight stays as it was trained and is normalised in every pass, so that an
    evaluation changes nothing. A Linear without bias, so that it can be resized."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.linear(hidden, functional.normalize(self.weight, dim=1, eps=1e-12))

    @classmethod
    def around(cls, linear: nn.Linear) -> NormHead:
        """A head that holds the very weight of `linear`."""
        head = cls(linear.in_features, linear.out_features, bias=False, device="meta")
        head.weight = linear.weight
        return head


def z_loss(logits: torch.Tensor) -> torch.Tensor:
    """Mean square of the largest logit, over all positions that are given."""
    return logits.float().amax(-1).square().mean()
