"""Yuan's localised filter: two short convolutions over time before q and k, and what a cache keeps of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.cache_utils import DynamicCache, DynamicLayer

from llmctl_engine.models.layers import RMSNorm

FILTER_EPS = 1e-6
"""The published code does not take `rms_norm_eps` here."""
REACH = 2
"""How many tokens back the filter looks."""


class TimeConvolution(nn.Conv2d):
    """y[t] = A x[t-1] + B x[t] + bias, with A and B in the published Conv2d shape (out, in, 2, 1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=(2, 1))

    def forward(self, x: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        weight = self.weight.squeeze(-1).permute(0, 2, 1).flatten(1)
        return functional.linear(torch.cat((previous, x), dim=-1), weight, self.bias)


class LocalFilter(nn.Module):
    """norm(conv2(conv1(x)) + x). A token mixes with the two before it; at the start of a text those, and what conv1
    makes of them, are zeros."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv1 = TimeConvolution(size, size // 2)
        self.conv2 = TimeConvolution(size // 2, size)
        self.output_layernorm = RMSNorm(size, FILTER_EPS)

    def forward(
        self, x: torch.Tensor, *, starts: torch.Tensor | None = None, before: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x (batch, length, size) filtered. `starts` (batch, length) is True at the first token of each text of a
        packed row; `before` (batch, 2, size) is what the cache kept of the tokens before."""
        wide = x if before is None else torch.cat((before, x), dim=1)
        first = self.conv1(wide, _delayed(wide, starts))
        second = self.conv2(first, _delayed(first, starts))
        filtered: torch.Tensor = self.output_layernorm(second[:, -x.shape[1] :] + x)
        return filtered


class FilteredLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values, the last two inputs of its filter, and in the first layer where texts end."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: torch.Tensor | None = None
        self.ends: torch.Tensor | None = None

    def exchange(self, x: torch.Tensor) -> torch.Tensor | None:
        """The inputs kept so far, (batch, 2, size), None at the start; those of `x` take their place."""
        before = self.inputs
        wide = torch.cat((x.new_zeros(x.shape[0], REACH, x.shape[2]) if before is None else before, x), dim=1)
        self.inputs = wide[:, -REACH:]
        return before

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Rows in another order, for beam search."""
        super().reorder_cache(beam_idx)
        self._select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only these rows."""
        super().batch_select_indices(indices)
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row `repeats` times."""
        super().batch_repeat_interleave(repeats)
        if self.inputs is not None:
            self._select(torch.arange(self.inputs.shape[0]).repeat_interleave(repeats))

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.inputs = self.ends = None

    def crop(self, tokens_to_remove: int) -> None:
        """Raises NotImplementedError: inputs of the filter that were left behind cannot be had back."""
        raise NotImplementedError("Yuan's cache cannot be cut back; use generation without assistance")

    def _select(self, rows: torch.Tensor) -> None:
        if self.inputs is not None:
            self.inputs = self.inputs.index_select(0, rows.to(self.inputs.device))
        if self.ends is not None:
            self.ends = self.ends.index_select(0, rows.to(self.ends.device))


def with_filter_state(cache: Any, layers: int) -> Any:
    """A cache whose layers keep the filter's inputs too: a new one, or `cache` itself, prepared while it is empty."""
    if cache is None:
        cache = DynamicCache()
    if len(cache.layers) != layers or not all(isinstance(layer, FilteredLayer) for layer in cache.layers):
        if cache.get_seq_length():
            raise ValueError("past_key_values was filled by another model")
        cache.layers = [FilteredLayer() for _ in range(layers)]
        cache.layer_class_to_replicate = None
    return cache


def _delayed(x: torch.Tensor, starts: torch.Tensor | None) -> torch.Tensor:
    previous = functional.pad(x[:, :-1], (0, 0, 1, 0))
    return previous if starts is None else previous.masked_fill(starts[..., None], 0.0)
