"""Which modules of a family LoRA may change."""

from __future__ import annotations

from collections.abc import Iterable

from llmctl_engine.errors import EngineError

ALL = ("all",)
LINEARS = {
    "baichuan": ("W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "yuan": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}
"""Every linear module but the head, by `model_type`."""


def lora_targets(model_type: str, targets: Iterable[str]) -> str | list[str]:
    """The modules for peft's LoraConfig; `all` is every linear one but the head. Raises EngineError for names that
    mean something else in this family than in others."""
    wanted = list(targets)
    known = LINEARS.get(model_type)
    if known is None:
        return "all-linear" if tuple(wanted) == ALL else wanted
    if tuple(wanted) == ALL:
        return list(known)
    if model_type == "baichuan" and {"q_proj", "k_proj", "v_proj"} & set(wanted):
        raise EngineError(
            f"train.lora.targets {', '.join(wanted)}: Baichuan holds q, k and v in one module", hint="name W_pack"
        )
    if model_type == "yuan" and ("q_proj" in wanted) != ("k_proj" in wanted):
        raise EngineError(
            f"train.lora.targets {', '.join(wanted)}: Yuan's q_proj holds q and k of the first half of the heads, "
            "its k_proj those of the other",
            hint="name both or neither",
        )
    return wanted
