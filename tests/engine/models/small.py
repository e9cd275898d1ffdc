"""Small models of each kind with random weights."""

from __future__ import annotations

from typing import Any

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "tie_word_embeddings": False,
}
ROPE, ALIBI = {"max_position_embeddings": 64}, {"model_max_length": 64}
CONFIGS: dict[str, dict[str, Any]] = {
    "baichuan-7b": {"model_type": "baichuan", **SIZES, **ROPE},
    "baichuan-13b": {"model_type": "baichuan", **SIZES, **ALIBI},
    "baichuan2-7b": {"model_type": "baichuan", **SIZES, **ROPE, "z_loss_weight": 0.0},
    "baichuan2-13b": {"model_type": "baichuan", **SIZES, **ALIBI, "z_loss_weight": 0.0},
    "yuan": {"model_type": "yuan", **SIZES, **dict.fromkeys(("pad_token_id", "eos_token_id", "eod_token"), 60)},
    "yuan-parted": {
        **{"model_type": "yuan", **SIZES, "reset_attention_mask": True},
        **dict.fromkeys(("pad_token_id", "eos_token_id", "eod_token"), 60),
    },
}


def small(name: str, *, attention: str = "sdpa", **changes: Any) -> Any:
    """The model, weights large enough that everything matters, the same at every call."""
    import torch
    from llmctl_engine import models
    from transformers import AutoConfig, AutoModelForCausalLM

    models.register()
    values = CONFIGS[name] | changes
    config = AutoConfig.for_model(values["model_type"], **{k: v for k, v in values.items() if k != "model_type"})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.15 + (weight.dim() == 1))
    return model


def token_ids(rows: int, length: int) -> Any:
    """Ids below 60, so that none of them is special."""
    import torch

    return torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(5))
