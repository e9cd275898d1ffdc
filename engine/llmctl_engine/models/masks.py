"""Which keys a query sees: causal order, padding and packed segments; and ALiBi's bias on what it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch


def packed_segments(position_ids: torch.Tensor | None, seq_idx: torch.Tensor | None) -> torch.Tensor | None:
    """Numbers of the packed texts, (batch, length), rising along a row: `seq_idx` where it is given, else one more
    wherever `position_ids` do not count on, behind padding too. None where every row is one text."""
    if seq_idx is not None:
        return seq_idx
    if position_ids is None or position_ids.shape[-1] < 2:
        return None
    jumps = position_ids[:, 1:] != position_ids[:, :-1] + 1
    if not bool(jumps.any()):
        return None
    return torch.nn.functional.pad(jumps.long().cumsum(-1), (1, 0))


def text_starts(segments: torch.Tensor | None, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """True at the first token of every packed text of (batch, length): where the segment changes, or the number that
    the attention mask gives to texts. None where neither is told."""
    starts = None
    for numbers, lowest in ((segments, 0), (attention_mask, 2)):
        if numbers is not None and numbers.dim() == 2:
            new = (numbers[:, 1:] != numbers[:, :-1]) & (numbers[:, 1:] >= lowest)
            new = torch.nn.functional.pad(new, (1, 0), value=True)
            starts = new if starts is None else starts | new
    return starts


def visible_keys(
    queries: int,
    past: int,
    device: torch.device,
    *,
    attention_mask: torch.Tensor | None = None,
    segments: torch.Tensor | None = None,
    padding_sees: bool = False,
) -> torch.Tensor | None:
    """True where a query sees a key, (batch or 1, 1, queries, past + queries); None for plain causal order, which the
    kernels have themselves.

    `attention_mask` (batch, past + queries) is 0 at padding; tokens see only tokens of their own number, so 1, 1, 2, 2
    packs two texts. `segments` are those of the keys, (batch, past + queries). A padding token sees nothing, or with
    `padding_sees` the text before it: no text sees it, but the published models differ there."""
    if attention_mask is not None and bool((attention_mask == 1).all()):
        attention_mask = None
    keys = past + queries
    if attention_mask is None and segments is None and (past == 0 or queries == 1):
        return None
    key = torch.arange(keys, device=device)
    visible = (key[None, :] <= key[past:, None])[None, None]
    if attention_mask is not None:
        _assert_length(attention_mask, keys)
        query, keyed = attention_mask[:, past:, None], attention_mask[:, None, :]
        same = (query == keyed) | (query == 0) if padding_sees else query == keyed
        visible = visible & (same & (keyed > 0))[:, None]
    if segments is not None:
        visible = visible & (segments[:, past:, None] == segments[:, None, :])[:, None]
    return visible


@dataclass(frozen=True, kw_only=True)
class Mask:
    """What is added to the scores of attention, and which queries see nothing: padding."""

    bias: torch.Tensor
    """(batch or 1, heads or 1, queries, keys); the lowest number of its type where a key is not seen, and -inf where
    a query that sees nothing is kept from a key altogether."""
    blind: torch.Tensor | None
    """(batch, 1, queries, 1), True for queries that see nothing: their attention is uniform, never NaN. None where
    there are none."""
    leading: int
    """So many queries at the front are padding in some row. What the last of them says predicts a text's first token,
    so that gradients may pass through them, which does not happen to padding behind a text."""
    clamped: bool = True
    """Whether scores are raised to the lowest number before the softmax: a key that is -inf then counts as much as
    others do for a query that sees nothing, but no gradient passes through its score."""

    def front(self) -> Mask:
        """The mask of the leading queries alone."""
        return replace(self, bias=self.bias[:, :, : self.leading])


def additive(visible: torch.Tensor, dtype: torch.dtype, never: torch.Tensor | None = None) -> Mask:
    """0 where visible. Keys of `never` are no part of what queries that see nothing average over."""
    bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    bias.masked_fill_(~visible, torch.finfo(dtype).min)
    blind, leading = _blind(visible)
    if blind is not None and never is not None:
        bias.masked_fill_(blind & never, -math.inf)
    return Mask(bias=bias, blind=blind, leading=leading, clamped=never is None)


def alibi_slopes(heads: int) -> torch.Tensor:
    """The slope of each head, fp32 (Press et al. 2022, and their rule for a number of heads that is no power of 2)."""
    power = 2 ** math.floor(math.log2(heads))
    slopes = _geometric(power)
    return torch.tensor(slopes + _geometric(2 * power)[0::2][: heads - power], dtype=torch.float32)


def alibi_mask(visible: torch.Tensor | None, slopes: torch.Tensor, queries: int, past: int, dtype: torch.dtype) -> Mask:
    """ALiBi's bias where visible; up to the query itself where that is None. The bias is slope x (key - query),
    reckoned in fp32: relative distances keep near keys apart in bf16, which the published slope x key does not."""
    key = torch.arange(past + queries, device=slopes.device)
    distance = (key[None, :] - key[past:, None]).to(torch.float32)
    bias = (slopes[:, None, None] * distance)[None].to(dtype)
    later = distance > 0
    if visible is None:
        return Mask(bias=bias.masked_fill(later, torch.finfo(dtype).min), blind=None, leading=0)
    blind, leading = _blind(visible)
    bias = torch.where(visible, bias, torch.finfo(dtype).min)
    if leading:
        bias = bias.masked_fill(later, -math.inf)
    return Mask(bias=bias, blind=blind, leading=leading)


def _blind(visible: torch.Tensor) -> tuple[torch.Tensor | None, int]:
    rows = ~visible.any(-1, keepdim=True)
    if not bool(rows.any()):
        return None, 0
    return rows, int(rows.long().cumprod(2).sum(2).max())


def _geometric(heads: int) -> list[float]:
    return [2.0 ** (-8.0 * (head + 1) / heads) for head in range(heads)]


def _assert_length(attention_mask: torch.Tensor, keys: int) -> None:
    if attention_mask.dim() != 2 or attention_mask.shape[1] != keys:
        raise ValueError(f"attention_mask is {tuple(attention_mask.shape)}, expected (batch, {keys})")
