"""What a run will want of each node before it starts: bytes on the disk for checkpoints, bytes of host memory. Pure.

P are the parameters of the model, counted from its config; T those that are trained: P, or the adapter's. w is the
bytes of one weight as DeepSpeed keeps it: 2 in fp16 and bf16, 4 in fp32. What the engine writes, in bytes:

| what | without DeepSpeed | DeepSpeed, ZeRO 1 and 2 | ZeRO 3 |
|---|---|---|---|
| weights, by the first node | 4 T | w T | w T |
| DeepSpeed's own copy of them, by every node | 0 | w T | 0 |
| both moments of AdamW, with ZeRO fp32 master weights too | 8 T on every node | 12 T over all ranks | the same |

so that half precision under ZeRO comes to 2 + 2 + 4 + 8 = 16 bytes a parameter: mixed precision with Adam as in ZeRO
(arXiv 1910.02054, section 3.1), with the weights written twice. Stage 0 keeps whole states in DeepSpeed's copy. Of
checkpoints there are as many as are saved, at most `save_total_limit` and one more while the oldest is replaced; the
final weights lie beside them. A folder that nodes share carries them all, but what every node would write only once.

Host memory: each rank holds 1 GiB and the model while it is loaded (4 P bytes, of a frozen base under LoRA its own
precision), under ZeRO 3 only its part. Where the host trains or ZeRO offloads the optimizer there, gradients (4 T) and
the states of the optimizer come on top, sharded under ZeRO. Activations and page cache are not counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 1024**3
MOMENTS, MASTER, GRADIENT = 8, 4, 4
WIDTH = {"fp32": 4, "bf16": 2, "fp16": 2}
NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "vocabulary": ("vocab_size",),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "heads": ("num_attention_heads", "n_head"),
    "key_heads": ("num_key_value_heads",),
    "head": ("head_dim",),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_inner": ("moe_intermediate_size",),
}
"""What is read from a config -> its names in transformers' configs."""
UNGATED = frozenset(("gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "starcoder2", "codegen"))
"""Families whose feed-forward part has two matrices, not three, and whose head is tied unless it is said."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a recipe decides about it."""

    method: str
    rank: int
    """Of LoRA."""
    precision: str
    device: str
    zero: int | None
    """The stage of ZeRO; None without DeepSpeed."""
    offload: bool
    """The optimizer's states lie in host memory."""
    checkpoints: int
    """How many lie there at the same time, at most."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one node must have, in bytes."""

    checkpoint: int
    checkpoints: int
    weights: int
    """The final ones."""
    memory: int

    @property
    def disk(self) -> int:
        return self.checkpoint * self.checkpoints + self.weights


def checkpoints(*, save_steps: int, limit: int | None, steps: int | None, resumed: bool) -> int:
    """How many checkpoints will lie there at once. What is not known counts as one, and a run that goes on finds
    the others there already."""
    if save_steps == 0:
        return 0
    if resumed or (limit is None and steps is None):
        return 1
    saved = math.inf if steps is None else math.ceil(steps / save_steps)
    return int(min(saved, math.inf if limit is None else limit + 1))


def read_config(text: str) -> dict[str, Any]:
    """What counts of a `config.json`. Raises ValueError for one that does not tell the model's size."""
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError("is no config of a model")
    return sizes(config)


def sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a config. Raises ValueError for one that does not tell the model's size."""
    inner = config.get("text_config")
    whole = {**config, **inner} if isinstance(inner, Mapping) else config
    found: dict[str, Any] = {}
    for name, keys in NAMES.items():
        value = next((whole[key] for key in keys if whole.get(key) is not None), None)
        if value is None:
            continue
        if type(value) is not int or not 0 < value < 2**40:
            raise ValueError(f"its {name} is {value!r}")
        found[name] = value
    missing = [NAMES[name][0] for name in ("hidden", "layers", "vocabulary") if name not in found]
    if missing:
        raise ValueError(f"it tells no {', '.join(missing)}")
    family = str(whole.get("model_type", ""))
    tied = whole.get("tie_word_embeddings")
    return found | {"family": family, "tied": tied if isinstance(tied, bool) else family in UNGATED | {"yuan"}}


def parameters(model: Mapping[str, Any]) -> int:
    """The parameters of a model of these `sizes`, biases and learned positions left out."""
    hidden, layers, vocabulary = model["hidden"], model["layers"], model["vocabulary"]
    experts = model.get("experts", 1)
    inside = sum(one * other for one, other in _attention(model)) + experts * sum(a * b for a, b in _forward(model))
    local_filter = 2 * hidden * hidden if model["family"] == "yuan" else 0
    router = hidden * experts if experts > 1 else 0
    embeddings = vocabulary * hidden * (1 if model["tied"] else 2)
    return int(embeddings + layers * (inside + local_filter + router + 2 * hidden) + hidden)


def adapter_parameters(model: Mapping[str, Any], rank: int) -> int:
    """The parameters of LoRA on all linear layers, the most that there can be."""
    inside = [*_attention(model), *_forward(model) * model.get("experts", 1)]
    return int(model["layers"] * rank * sum(one + other for one, other in inside))


def needs(
    training: Training, model: Mapping[str, Any], slots: Mapping[str, int], shared: Mapping[str, str]
) -> dict[str, Need]:
    """By node, in the order of the run. `slots`: processes by node; `shared`: what marks the folder of a node that
    shares it with others."""
    whole = parameters(model)
    trained = adapter_parameters(model, training.rank) if training.method == "lora" else whole
    world, first = sum(slots.values()), next(iter(slots), "")
    weight = 4 if training.zero is None else WIDTH[training.precision]
    found = {}
    for node, count in slots.items():
        together = [n for n in slots if n == node or (n in shared and shared[n] == shared.get(node))]
        share = sum(slots[n] for n in together) / world
        copies = 1 if first in together else 0
        found[node] = Need(
            checkpoint=int(trained * (copies * weight + _states(training, weight, share))),
            checkpoints=training.checkpoints,
            weights=copies * weight * trained,
            memory=int(count * GIB + _memory(training, whole, trained, count, count / world)),
        )
    return found


def in_gb(count: float) -> str:
    """Bytes for people, in GB of 10^9; MB below a tenth of it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{math.ceil(count / 1e6)} MB"


def _states(training: Training, weight: int, share: float) -> float:
    """Bytes a parameter that a node writes besides the weights, of which `share` of the ranks is its own."""
    if training.zero is None:
        return MOMENTS
    if training.zero == 0:
        return weight + MOMENTS + (MASTER if weight == 2 else 0)
    return (weight if training.zero < 3 else 0) + (MASTER + MOMENTS) * share


def _memory(training: Training, whole: int, trained: int, count: int, share: float) -> float:
    loaded = whole * (WIDTH[training.precision] if training.method == "lora" else 4)
    held = loaded * (share if training.zero == 3 else count)
    if training.device != "cpu" and not training.offload:
        return held
    states = MOMENTS + MASTER * (training.zero is not None)
    part = share if training.zero else count
    return held + trained * (states * part + GRADIENT * (part if training.offload else count))


def _attention(model: Mapping[str, Any]) -> list[tuple[int, int]]:
    hidden, heads = model["hidden"], model.get("heads", 1)
    head = model.get("head", hidden // heads)
    query, key = heads * head, model.get("key_heads", heads) * head
    return [(hidden, query), (hidden, key), (hidden, key), (query, hidden)]


def _forward(model: Mapping[str, Any]) -> list[tuple[int, int]]:
    hidden = model["hidden"]
    inner = model.get("inner", 4 * hidden)
    if "experts" in model:
        inner = model.get("expert_inner", inner)
    return [(hidden, inner)] * (2 if model["family"] in UNGATED else 3)
