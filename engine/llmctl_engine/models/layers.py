"""What the families' layers share: RMSNorm, rotary positions, attention, masks in the form that attention wants."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from llmctl_engine.models.masks import Mask

Rotary = tuple[torch.Tensor, torch.Tensor]
MASKED = ("eager", "sdpa")
"""Implementations that take an additive mask of any shape."""


class RMSNorm(nn.Module):
    """x / rms(x) x weight; the mean of squares is reckoned in fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(self.weight.dtype)


def rotary(position_ids: torch.Tensor, head_size: int, base: float) -> Rotary:
    """fp32 cosines and sines, each (batch, 1, length, head_size). Reckoned anew in every forward pass: what is kept as
    a buffer is lost when weights are loaded, or rounded when the model is cast."""
    exponents = torch.arange(0, head_size, 2, device=position_ids.device, dtype=torch.float32) / head_size
    angles = position_ids[:, None, :, None].float() * (1.0 / base**exponents)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, positions: Rotary) -> torch.Tensor:
    """x (batch, heads, length, head_size) turned by its positions, in fp32 whatever its own type."""
    cos, sin = positions
    first, second = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(batch, length, heads x size) to (batch, heads, length, size)."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def remembered(cache: Any, key: torch.Tensor, value: torch.Tensor, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values so far, with those that are new; without the room for later ones that a static cache has."""
    length = int(cache.get_seq_length(layer_idx)) + key.shape[2]
    key, value = cache.update(key, value, layer_idx)
    return key[:, :, :length], value[:, :, :length]


def one_of(input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, embedding: nn.Module) -> torch.Tensor:
    """The states that a model starts with. Raises ValueError unless exactly one of the two is given."""
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("give input_ids or inputs_embeds, and not both")
    states: torch.Tensor = embedding(input_ids) if inputs_embeds is None else inputs_embeds
    return states


def kept_positions(hidden: torch.Tensor, logits_to_keep: int | torch.Tensor) -> torch.Tensor:
    """The last `logits_to_keep` positions, all for 0, or those that a tensor numbers."""
    kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
    return hidden[:, kept]


def attend(
    module: nn.Module,
    implementation: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Mask | torch.Tensor | None,
    **more: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(batch, length, heads x size) and the weights where the implementation has them.

    torch's own function is called for sdpa: transformers turns every additive mask into a boolean one on an NPU, and
    ALiBi would be lost without a word."""
    scale = query.shape[-1] ** -0.5
    if implementation not in MASKED:
        mixed, weights = ALL_ATTENTION_FUNCTIONS[implementation](
            module, query, key, value, mask, dropout=0.0, scaling=scale, **more
        )
        return mixed.flatten(2), weights
    if isinstance(mask, torch.Tensor):
        raise TypeError(f"{implementation} attention takes a Mask")
    if implementation == "eager":
        mixed, weights = _eager(query, key, value, mask, scale)
        return mixed.transpose(1, 2).flatten(2), weights
    bias = None if mask is None else mask.bias
    mixed = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, is_causal=mask is None and query.shape[2] > 1, scale=scale
    )
    if mask is not None and mask.blind is not None:
        mixed = _padding_mended(mixed, query, key, value, mask, scale)
    return mixed.transpose(1, 2).flatten(2), None


def _padding_mended(
    mixed: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Mask, scale: float
) -> torch.Tensor:
    """What sdpa gave, with the queries that see nothing reckoned anew: the kernels' gradients of rows in which every
    score is the lowest number are wrong, a hundred times too large for 24 tokens."""
    mixed = torch.where(mask.blind, value.mean(2, keepdim=True), mixed)  # type: ignore[arg-type]
    if not mask.leading:
        return mixed
    front, behind = mixed.tensor_split([mask.leading], dim=2)
    own, _ = _eager(query[:, :, : mask.leading], key, value, mask.front(), scale)
    return torch.cat((torch.where(mask.blind[:, :, : mask.leading], own, front), behind), dim=2)  # type: ignore[index]


def _eager(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Mask | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores = scores + mask.bias
        if mask.clamped:
            # Lower than the lowest number is -inf, and a row of those NaN.
            scores = torch.maximum(scores, scores.new_tensor(torch.finfo(scores.dtype).min))
    weights = scores.softmax(dim=-1).to(value.dtype)
    return weights @ value, weights


def compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    """The type that attention works in: autocast's where that is on."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def bias_dtype(hidden: torch.Tensor, implementation: str) -> torch.dtype:
    """The widest type of an additive mask that the implementation takes: fp32, but for the kernels of accelerators,
    which want their own."""
    if implementation == "eager" or (hidden.device.type == "cpu" and not torch.is_autocast_enabled("cpu")):
        return torch.float32
    return compute_dtype(hidden)
