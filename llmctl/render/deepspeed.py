"""`ds_config.json`: built from the recipe, the user's further keys held against what DeepSpeed accepts."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from llmctl.errors import ManyErrors, UsageError
from llmctl.run.plan import Plan

KEYS_FILE = Path(__file__).with_name("deepspeed_keys.json")

OURS = {
    "train_batch_size": "train.micro_batch, train.grad_accum and the number of devices",
    "train_micro_batch_size_per_gpu": "train.micro_batch",
    "gradient_accumulation_steps": "train.grad_accum",
    "gradient_clipping": "train.max_grad_norm",
    "zero_optimization.stage": "deepspeed.stage",
    "fp16.enabled": "train.precision",
    "bf16.enabled": "train.precision",
    "scheduler": "train.scheduler",
}
"""What follows from the rest of the recipe, by key path: the same thing is never said in two places."""

REFUSED = {
    "tensor_parallel": "every device trains on rows of its own, and Baichuan and Yuan do not store q and k apart",
}
"""What DeepSpeed can do and a run cannot, and why."""


@cache
def known_keys() -> dict[str, frozenset[str]]:
    """The keys that DeepSpeed accepts, by the path of their block; "" is the top level."""
    data = json.loads(KEYS_FILE.read_text(encoding="utf-8"))
    return {block: frozenset(keys) for block, keys in data["keys"].items()}


def lint(extra: Mapping[str, Any], ours: Mapping[str, Any]) -> list[UsageError]:
    """The mistakes in the keys that a recipe adds under `deepspeed:`; `ours` is the file without them. A value that
    says the same as the rest of the recipe, or `auto`, is no mistake."""
    return list(_lint(extra, ours, ""))


def _lint(block: Mapping[str, Any], ours: Mapping[str, Any], path: str) -> Iterator[UsageError]:
    known = known_keys()[path]
    for key, value in block.items():
        full = f"{path}.{key}" if path else key
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see deepspeed.ai/docs/config-json"
            yield UsageError(f"deepspeed.{full}: DeepSpeed knows no such key", hint=hint)
        elif full in REFUSED:
            yield UsageError(f"deepspeed.{full}: {REFUSED[full]}", hint="shard the model with deepspeed.stage: 3")
        elif full in OURS:
            if value == "auto" or (key in ours and value == ours[key]):
                continue
            yield UsageError(
                f"deepspeed.{full}: {value!r} is not what follows from {OURS[full]}", hint=f"set {OURS[full]} instead"
            )
        elif full in known_keys():
            if isinstance(value, Mapping):
                yield from _lint(value, ours.get(key, {}), full)
            else:
                yield UsageError(f"deepspeed.{full}: must be a block of keys")


def ds_config(plan: Plan) -> dict[str, Any] | None:
    """The content of `ds_config.json`; None for a recipe without DeepSpeed. Raises ManyErrors from the lint.

    `gradient_clipping` is always written, since DeepSpeed's own default clips at 1.0; the optimizer is torch's, so
    that nothing is compiled on the nodes."""
    block = plan.recipe.deepspeed
    if block is None:
        return None
    train = plan.recipe.train
    config: dict[str, Any] = {
        "train_batch_size": plan.global_batch,
        "train_micro_batch_size_per_gpu": train.micro_batch,
        "gradient_accumulation_steps": train.grad_accum,
        "gradient_clipping": train.max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
        "zero_optimization": {"stage": block.stage},
        "bf16": {"enabled": train.precision == "bf16"},
        "fp16": {"enabled": train.precision == "fp16"},
    }
    if block.stage == 3:
        config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
    extra = block.model_extra or {}
    errors = lint(extra, config)
    if errors:
        raise ManyErrors(errors, where="recipe")
    return _merge(config, extra)


def _merge(base: dict[str, Any], over: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if path + key in OURS:
            continue
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value, f"{path}{key}.") if both else value
    return merged
