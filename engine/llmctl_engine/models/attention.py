"""From what a batch tells about padding and packing to the mask that the attention implementation wants."""

from __future__ import annotations

from typing import Any

import torch

from llmctl_engine.errors import EngineError
from llmctl_engine.models.layers import MASKED, bias_dtype, compute_dtype
from llmctl_engine.models.masks import Mask, additive, alibi_mask, alibi_slopes, packed_segments, visible_keys


def assert_supported(config: Any, *, alibi: bool) -> None:
    """Raises EngineError where the config asks for an attention that cannot do what the model needs."""
    implementation = config._attn_implementation
    if alibi and implementation not in (None, *MASKED):
        raise EngineError(
            f"{implementation} has no place for the bias of ALiBi",
            hint=f"load the model with attn_implementation {' or '.join(MASKED)}",
        )


def mask_for(
    config: Any,
    hidden: torch.Tensor,
    past: int,
    *,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    seq_idx: torch.Tensor | None,
    alibi: bool,
) -> Mask | torch.Tensor | None:
    """The mask for the layers, None for plain causal order; for flash kernels the attention mask itself. A mask of 3
    or 4 dimensions is taken as it stands: True or 0 where a key is seen. Raises EngineError as `assert_supported`."""
    assert_supported(config, alibi=alibi)
    implementation = config._attn_implementation
    if implementation not in MASKED:
        return flash_mask(attention_mask, position_ids, seq_idx)
    queries = hidden.shape[1]
    visible: torch.Tensor | None
    if attention_mask is not None and attention_mask.dim() > 2:
        visible = ready_made(attention_mask, past + queries)
    else:
        segments = packed_segments(position_ids, seq_idx) if past == 0 else None
        visible = visible_keys(
            queries, past, hidden.device, attention_mask=attention_mask, segments=segments, padding_sees=not alibi
        )
    if alibi:
        slopes = alibi_slopes(config.num_attention_heads).to(hidden.device)
        return alibi_mask(visible, slopes, queries, past, bias_dtype(hidden, implementation))
    return finished(visible, hidden, past, implementation, never=_never(config, attention_mask, queries))


def _never(config: Any, attention_mask: torch.Tensor | None, queries: int) -> torch.Tensor | None:
    """Later padding, True, which padding in front of a text does not average over in Baichuan2-7B: twice the lowest
    number is -inf there, and stays so."""
    if not config.has_norm_head or attention_mask is None or attention_mask.dim() != 2:
        return None
    key = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return ((key[None, :] > key[-queries:, None])[None] & (attention_mask == 0)[:, None])[:, None]


def ready_made(mask: torch.Tensor, keys: int) -> torch.Tensor:
    """True where a mask of 3 or 4 dimensions, boolean or additive, lets one of the keys be seen; that of a static cache
    goes on beyond them."""
    whole = (mask if mask.dim() == 4 else mask[:, None])[..., :keys]
    return whole if whole.dtype == torch.bool else whole == 0


def finished(
    visible: torch.Tensor | None,
    hidden: torch.Tensor,
    past: int,
    implementation: str,
    never: torch.Tensor | None = None,
) -> Mask | None:
    """The additive mask, `never` as in `additive`; sdpa knows plain causal order by itself, a single new token sees
    all."""
    queries = hidden.shape[1]
    if visible is None:
        if implementation == "sdpa" or queries == 1:
            return None
        key = torch.arange(past + queries, device=hidden.device)
        visible = (key[None, :] <= key[past:, None])[None, None]
    return additive(visible, compute_dtype(hidden), never)


def flash_mask(
    attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None, seq_idx: torch.Tensor | None
) -> torch.Tensor | None:
    """Flash kernels take padding as 0 and 1; of packed texts they learn from positions that start again, in a batch of
    one row without padding. Raises EngineError for packing that is told otherwise: texts would see one another."""
    numbered = attention_mask is not None and bool((attention_mask > 1).any())
    if numbered or (seq_idx is not None and position_ids is None):
        raise EngineError("flash attention learns from position_ids alone where packed texts start", hint="give them")
    mask = None if attention_mask is None or bool(attention_mask.all()) else attention_mask
    if (
        position_ids is not None
        and (mask is not None or position_ids.shape[0] > 1)
        and _starts_again(position_ids, mask)
    ):
        raise EngineError(
            "flash attention parts packed texts in a batch of one row without padding only",
            hint="lay the rows one after the other, or load the model with attn_implementation sdpa",
        )
    return mask


def _starts_again(position_ids: torch.Tensor, mask: torch.Tensor | None) -> bool:
    """Whether positions do not count on from one token to the next; at padding they may do anything."""
    jumps = position_ids[:, 1:] != position_ids[:, :-1] + 1
    if mask is not None:
        real = mask[:, -position_ids.shape[1] :] > 0
        jumps = jumps & real[:, 1:] & real[:, :-1]
    return bool(jumps.any())


def assert_parted_by_packing(
    texts: torch.Tensor | None, segments: torch.Tensor | None, attention_mask: torch.Tensor | None, implementation: str
) -> None:
    """Raises EngineError for texts parted at <eod> that are not packed texts: a flash kernel cannot be told of them."""
    if texts is None:
        return
    parted = texts[:, 1:] != texts[:, :-1]
    if segments is not None:
        parted = parted & (segments[:, 1:] == segments[:, :-1])
    if attention_mask is not None:
        parted = parted & (attention_mask[:, 1:] > 0)
    if bool(parted.any()):
        raise EngineError(
            f"{implementation} would let a text see those before its <eod>",
            hint="load the model with attn_implementation sdpa, or with reset_attention_mask false",
        )


def both(texts: torch.Tensor | None, segments: torch.Tensor | None) -> torch.Tensor | None:
    """Numbers that change where those of either do: both rise along a row."""
    return texts if segments is None else segments if texts is None else texts + segments
