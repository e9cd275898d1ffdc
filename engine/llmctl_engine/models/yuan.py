"""Yuan 2.0: interleaved q and k behind a local filter, gate and up with changed roles, texts parted at <eod>."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from llmctl_engine.models.attention import assert_parted_by_packing, both, finished, flash_mask, ready_made
from llmctl_engine.models.filtering import LocalFilter, with_filter_state
from llmctl_engine.models.layers import (
    MASKED,
    RMSNorm,
    Rotary,
    attend,
    kept_positions,
    one_of,
    remembered,
    rotary,
    rotate,
    split_heads,
)
from llmctl_engine.models.masks import Mask, packed_segments, text_starts, visible_keys
from llmctl_engine.models.settings import assert_sound
from llmctl_engine.models.shards import load_shard_by_shard

EOD = 77185
"""Yuan's end of a document, its only special token."""


class YuanConfig(PreTrainedConfig):  # type: ignore[misc]
    """config.json of the published models; the defaults are those of the 2B."""

    model_type = "yuan"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 135040
    hidden_size: int = 2048
    intermediate_size: int = 8192
    num_hidden_layers: int = 24
    num_attention_heads: int = 32
    hidden_act: str = "silu"
    max_position_embeddings: int = 8192
    model_max_length: int = 8192
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    use_cache: bool = True
    pad_token_id: int | None = EOD
    bos_token_id: int | None = EOD
    eos_token_id: int | list[int] | None = EOD
    tie_word_embeddings: bool = True
    eod_token: int = EOD
    reset_attention_mask: bool = False
    """Tokens after an <eod> do not see those before it."""


class YuanAttention(nn.Module):
    """q and k come from filtered states, v from plain ones. The rows of `q_proj` and `k_proj` one after the other hold
    q and k of the first head, q and k of the second, and so on."""

    def __init__(self, config: YuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, True
        size = config.hidden_size
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)
        self.lf_gate = LocalFilter(size)
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)

    def forward(
        self,
        hidden: torch.Tensor,
        mask: Mask | torch.Tensor | None,
        positions: Rotary,
        starts: torch.Tensor | None,
        cache: Any,
        **more: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        heads = self.config.num_attention_heads
        value = split_heads(self.v_proj(hidden), heads)
        before = cache.layers[self.layer_idx].exchange(hidden) if cache is not None else None
        filtered = self.lf_gate(hidden, starts=starts, before=before)
        both = split_heads(torch.cat((self.q_proj(filtered), self.k_proj(filtered)), dim=-1), heads)
        query, key = (rotate(x, positions) for x in both.chunk(2, dim=-1))
        if cache is not None:
            key, value = remembered(cache, key, value, self.layer_idx)
        mixed, weights = attend(self, self.config._attn_implementation, query, key, value, mask, **more)
        return self.o_proj(mixed), weights


class YuanMLP(nn.Module):
    """down(gate x silu(up)): the other way round than Llama has it."""

    def __init__(self, config: YuanConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down_proj(self.gate_proj(x) * functional.silu(self.up_proj(x)))
        return out


class YuanLayer(GradientCheckpointingLayer):  # type: ignore[misc]
    """Attention and MLP, each behind its norm and beside its residual."""

    def __init__(self, config: YuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = YuanAttention(config, layer_idx)
        self.mlp = YuanMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden: torch.Tensor,
        mask: Mask | torch.Tensor | None,
        positions: Rotary,
        starts: torch.Tensor | None,
        past_key_values: Any = None,
        **more: Any,
    ) -> torch.Tensor:
        normed = self.input_layernorm(hidden)
        hidden = hidden + self.self_attn(normed, mask, positions, starts, past_key_values, **more)[0]
        out: torch.Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return out


class YuanPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """What transformers asks about the family."""

    config_class = YuanConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("YuanLayer",)
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    # Published folders carry it; it follows from the config.
    _keys_to_ignore_on_load_unexpected = (r"rotary_emb\.inv_freq",)
    _can_record_outputs = {"hidden_states": YuanLayer, "attentions": YuanAttention}  # noqa: RUF012
    _load_pretrained_model = staticmethod(load_shard_by_shard)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        """transformers looks for words of its own in the source otherwise."""
        return True

    def __init__(self, config: YuanConfig) -> None:
        assert_sound(config)
        super().__init__(config)


class YuanModel(YuanPreTrainedModel):
    """Embedding, layers, last norm."""

    def __init__(self, config: YuanConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(YuanLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults  # type: ignore[untyped-decorator]
    @capture_outputs  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        seq_idx: torch.Tensor | None = None,
        **more: Any,
    ) -> Any:
        """Hidden states. Packed texts are told as in Baichuan; neither attention nor filter crosses their borders.
        `position_ids` that start behind padding keep the padding out of the filter; without them it passes into the
        first two tokens, as in the published model."""
        hidden = one_of(input_ids, inputs_embeds, self.embed_tokens)
        if use_cache or past_key_values is not None:
            past_key_values = with_filter_state(past_key_values, len(self.layers))
        past = int(past_key_values.get_seq_length()) if past_key_values is not None else 0
        segments = packed_segments(position_ids, seq_idx) if past == 0 else None
        parted = self._parted(input_ids, past_key_values)
        mask: Mask | torch.Tensor | None
        if self.config._attn_implementation not in MASKED:
            assert_parted_by_packing(parted, segments, attention_mask, self.config._attn_implementation)
            mask = flash_mask(attention_mask, position_ids, seq_idx)
        else:
            mask = self._mask(hidden, past, attention_mask, both(parted, segments))
        starts = text_starts(segments, attention_mask) if past == 0 else None
        if position_ids is None:
            position_ids = torch.arange(past, past + hidden.shape[1], device=hidden.device)[None]
        head_size = self.config.hidden_size // self.config.num_attention_heads
        positions = rotary(position_ids, head_size, self.config.rope_theta)
        for layer in self.layers:
            hidden = layer(
                hidden, mask, positions, starts, past_key_values=past_key_values, position_ids=position_ids, **more
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=past_key_values)

    def _parted(self, input_ids: torch.Tensor | None, cache: Any) -> torch.Tensor | None:
        """The text that each key so far belongs to, (batch, past + length), where the config parts texts at <eod> and
        there are some. The <eod> itself belongs to the text that it ends."""
        if not self.config.reset_attention_mask or input_ids is None:
            return None
        ends = input_ids == self.config.eod_token
        if cache is not None:
            before = cache.layers[0].ends
            cache.layers[0].ends = ends = ends if before is None else torch.cat((before, ends), dim=-1)
        if not bool(ends[:, :-1].any()):
            return None
        texts: torch.Tensor = ends.cumsum(-1) - ends.long()
        return texts

    def _mask(
        self, hidden: torch.Tensor, past: int, attention_mask: torch.Tensor | None, texts: torch.Tensor | None
    ) -> Mask | None:
        """What each token sees: its own text up to itself, padding left out; a padding token sees itself at least."""
        implementation, queries = self.config._attn_implementation, hidden.shape[1]
        if attention_mask is not None and attention_mask.dim() > 2:
            return finished(ready_made(attention_mask, past + queries), hidden, past, implementation)
        visible = visible_keys(
            queries, past, hidden.device, attention_mask=attention_mask, segments=texts, padding_sees=True
        )
        if visible is not None:
            own = torch.ones(queries, past + queries, dtype=torch.bool, device=hidden.device)
            visible = visible | (own.tril(past) & own.triu(past))
        return finished(visible, hidden, past, implementation)


class YuanForCausalLM(YuanPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The language model. Its loss is the mean cross entropy of the next tokens; the published code wants the labels
    shifted by the caller, which here is `shift_labels`."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: YuanConfig) -> None:
        super().__init__(config)
        self.model = YuanModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **more: Any,
    ) -> Any:
        """Logits of all positions, of the last `logits_to_keep`, or of those in it; with labels of either kind, the
        loss."""
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **more,
        )
        logits = self.lm_head(kept_positions(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None or more.get("shift_labels") is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **more)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
