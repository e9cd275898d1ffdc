"""Baichuan and Baichuan 2, 7B and 13B: packed q, k, v; rotary positions or ALiBi; a plain or a normalised head."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from llmctl_engine.models.attention import assert_supported, mask_for
from llmctl_engine.models.heads import NormHead, z_loss
from llmctl_engine.models.layers import (
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
from llmctl_engine.models.masks import Mask
from llmctl_engine.models.settings import assert_sound
from llmctl_engine.models.shards import load_shard_by_shard

ROPE_BASE = 10000.0
VOCABULARY_2 = 125696
"""Tokens of Baichuan 2; the first has 64000."""


TELLING = ("max_position_embeddings", "model_max_length", "z_loss_weight", "alibi", "norm_head")


class BaichuanConfig(PreTrainedConfig):  # type: ignore[misc]
    """config.json of the four published models. Which of them it is follows from its keys; `alibi` and `norm_head`
    set it by hand."""

    model_type = "baichuan"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 64000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    hidden_act: str = "silu"
    max_position_embeddings: int | None = None
    """There in the 7B models alone: they have rotary positions."""
    model_max_length: int | None = None
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    z_loss_weight: float | None = None
    """There in Baichuan 2 alone; 0 and absent both leave the term out."""
    alibi: bool | None = None
    norm_head: bool | None = None

    @property
    def has_alibi(self) -> bool:
        return self.max_position_embeddings is None if self.alibi is None else self.alibi

    @property
    def has_norm_head(self) -> bool:
        if self.norm_head is not None:
            return self.norm_head
        return self.vocab_size == VOCABULARY_2 or self.z_loss_weight is not None

    def to_dict(self) -> dict[str, Any]:
        """Without the keys by which the models are told apart, where this one has none: others read their presence."""
        values: dict[str, Any] = super().to_dict()
        return {key: value for key, value in values.items() if value is not None or key not in TELLING}


class BaichuanAttention(nn.Module):
    """`W_pack` holds the rows of q, k and v one after another, the heads in order inside each."""

    def __init__(self, config: BaichuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, True
        size = config.hidden_size
        self.W_pack = nn.Linear(size, 3 * size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(
        self, hidden: torch.Tensor, mask: Mask | torch.Tensor | None, positions: Rotary | None, cache: Any, **more: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query, key, value = (split_heads(x, self.config.num_attention_heads) for x in self.W_pack(hidden).chunk(3, -1))
        if positions is not None:
            query, key = rotate(query, positions), rotate(key, positions)
        if cache is not None:
            key, value = remembered(cache, key, value, self.layer_idx)
        mixed, weights = attend(self, self.config._attn_implementation, query, key, value, mask, **more)
        return self.o_proj(mixed), weights


class BaichuanMLP(nn.Module):
    """down(silu(gate) x up)."""

    def __init__(self, config: BaichuanConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class BaichuanLayer(GradientCheckpointingLayer):  # type: ignore[misc]
    """Attention and MLP, each behind its norm and beside its residual."""

    def __init__(self, config: BaichuanConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = BaichuanAttention(config, layer_idx)
        self.mlp = BaichuanMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden: torch.Tensor,
        mask: Mask | torch.Tensor | None,
        positions: Rotary | None,
        past_key_values: Any = None,
        **more: Any,
    ) -> torch.Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), mask, positions, past_key_values, **more)[0]
        out: torch.Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return out


class BaichuanPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """What transformers asks about the family."""

    config_class = BaichuanConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("BaichuanLayer",)
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _supports_attention_backend = True
    # Published 7B folders carry it; it follows from the config.
    _keys_to_ignore_on_load_unexpected = (r"rotary_emb\.inv_freq",)
    _can_record_outputs = {"hidden_states": BaichuanLayer, "attentions": BaichuanAttention}  # noqa: RUF012
    _load_pretrained_model = staticmethod(load_shard_by_shard)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        """transformers looks for words of its own in the source otherwise."""
        return True

    def __init__(self, config: BaichuanConfig) -> None:
        assert_sound(config)
        self._supports_flash_attn = not config.has_alibi
        assert_supported(config, alibi=config.has_alibi)
        super().__init__(config)


class BaichuanModel(BaichuanPreTrainedModel):
    """Embedding, layers, last norm."""

    def __init__(self, config: BaichuanConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(BaichuanLayer(config, index) for index in range(config.num_hidden_layers))
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
        """Hidden states. Packed texts are told by `position_ids` that start again, by their numbers in `seq_idx`, or by
        an attention mask that numbers them 1, 2, 3 and padding 0."""
        hidden = one_of(input_ids, inputs_embeds, self.embed_tokens)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        past = int(past_key_values.get_seq_length()) if past_key_values is not None else 0
        mask = mask_for(
            self.config,
            hidden,
            past,
            attention_mask=attention_mask,
            position_ids=position_ids,
            seq_idx=seq_idx,
            alibi=self.config.has_alibi,
        )
        if position_ids is None:
            position_ids = torch.arange(past, past + hidden.shape[1], device=hidden.device)[None]
        head_size = self.config.hidden_size // self.config.num_attention_heads
        positions = None if self.config.has_alibi else rotary(position_ids, head_size, ROPE_BASE)
        for layer in self.layers:
            hidden = layer(hidden, mask, positions, past_key_values=past_key_values, position_ids=position_ids, **more)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=past_key_values)


class BaichuanForCausalLM(BaichuanPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The language model. Its loss is the mean cross entropy of the next tokens, and Baichuan 2's z-loss."""

    def __init__(self, config: BaichuanConfig) -> None:
        super().__init__(config)
        self.model = BaichuanModel(config)
        head = NormHead if config.has_norm_head else nn.Linear
        self.lm_head = head(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Put in another head, a resized one; it is normalised where this model's is."""
        normalised = self.config.has_norm_head and not isinstance(new_embeddings, NormHead)
        self.lm_head = NormHead.around(new_embeddings) if normalised else new_embeddings

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
        """Logits of all positions, of the last `logits_to_keep`, or of those in it; with `labels`, the loss."""
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
        return CausalLMOutputWithPast(
            loss=self._loss(logits, labels, **more) if labels is not None else None,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        loss: torch.Tensor = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **more)
        if self.config.z_loss_weight:
            # Of all positions that predict a token, labelled or not, as published.
            loss = loss + self.config.z_loss_weight * z_loss(logits[:, :-1])
        return loss
