"""Which modules of a family LoRA may change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmctl_engine.errors import EngineError

ALL = ("all",)
LINEARS = {
    "baichuan": ("W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "yuan": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}
"""Every linear module but the head, by `model_type`."""


def lora_targets(config: Any, targets: Iterable[str]) -> str | list[str]:
    """The modules of a model with this config for peft's LoraConfig; `all` is every linear one but the head. Raises
    EngineError for names that mean something else in this family than in others."""
    wanted = list(targets)
    known = LINEARS.get(config.model_type)
    if known is None:
        return "all-linear" if tuple(wanted) == ALL else wanted
    if tuple(wanted) == ALL:
        return list(known)
    told = f"train.lora.targets {', '.join(wanted)}"
    modules = {name.rpartition(".")[2] for name in wanted}
    if config.model_type == "baichuan" and {"q_proj", "k_proj", "v_proj"} & modules:
        raise EngineError(f"{told}: Baichuan holds q, k and v in one module", hint="name W_pack")
    if config.model_type == "yuan" and ("q_proj" in modules) != ("k_proj" in modules):
        raise EngineError(
            f"{told}: Yuan's q_proj holds q and k of the first half of the heads, its k_proj those of the other",
            hint="name both or neither",
        )
    if "lm_head" in modules and (config.tie_word_embeddings or getattr(config, "has_norm_head", False)):
        raise EngineError(
            f"{told}: the head is the embedding, or is normalised, and what LoRA adds to it could not be merged",
            hint="leave lm_head out",
        )
    return wanted
