"""Does a config.json say what the families can be? Asked before a model of it is made."""

from __future__ import annotations

from typing import Any

from llmctl_engine.errors import EngineError

SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def assert_sound(config: Any) -> None:
    """Raises EngineError for numbers that make no model, for an activation or scaled positions that the families do
    not have, and for tensor parallelism: W_pack holds q, k and v, Yuan's q_proj and k_proj hold q and k of one head
    after the other, so that a cut by columns gives processes parts that do not belong together."""
    for name in SIZES:
        number = getattr(config, name)
        if not isinstance(number, int) or number < 1:
            raise _wrong(config, name)
    heads = config.num_attention_heads
    if config.hidden_size % heads:
        raise _wrong(config, "num_attention_heads", f", which does not divide hidden_size {config.hidden_size}")
    if not isinstance(config.rms_norm_eps, float) or config.rms_norm_eps <= 0:
        raise _wrong(config, "rms_norm_eps")
    if config.hidden_act != "silu":
        raise _wrong(config, "hidden_act", "; the family has silu")
    scaled = getattr(config, "rope_parameters", None) or {}
    if scaled.get("rope_type", scaled.get("type", "default")) != "default":
        raise _wrong(config, "rope_parameters", "; the family's positions are not scaled")
    pad = config.pad_token_id
    if pad is not None and not -config.vocab_size <= pad < config.vocab_size:
        raise _wrong(config, "pad_token_id", f", and the vocabulary ends at {config.vocab_size}")
    parallel = getattr(config, "distributed_config", None)
    if parallel is not None and (parallel.tp_plan or (parallel.tp_size or 1) > 1):
        raise EngineError(
            f"{config.model_type} cannot be split by columns (tensor parallelism): its q and k are not stored apart",
            hint="shard it with ZeRO or FSDP",
        )


def _wrong(config: Any, name: str, why: str = "") -> EngineError:
    where = f"{config.name_or_path}/config.json" if config.name_or_path else f"the {config.model_type} config"
    return EngineError(
        f"{where} has {name} {getattr(config, name)!r}{why}", hint="it must be the one that came with the weights"
    )
