"""What other trainers wrote down of a run, in the words of a recipe. Pure: their settings come in as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TRAIN = {
    "stage": "stage",
    "finetuning_type": "method",
    "train_type": "method",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "grad_accum",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "scheduler",
    "seed": "seed",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "gradient_checkpointing": "gradient_checkpointing",
}
"""Names of transformers' TrainingArguments, LLaMA-Factory and ms-swift -> keys of `train`."""
LORA = {
    "lora_rank": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lora_target": "targets",
    "target_modules": "targets",
}
ADAPTER = {"r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout", "target_modules": "targets"}
"""Names of peft's `adapter_config.json` -> keys of `train.lora`."""
DATA = {"dataset": "datasets", "cutoff_len": "cutoff_len", "max_length": "cutoff_len", "max_samples": "max_samples"}
SHAPE = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
    "rope_theta",
    "rms_norm_eps",
    "hidden_act",
    "tie_word_embeddings",
)
"""What of a model's `config.json` says which model it is."""


def as_recipe(settings: Mapping[str, Any], adapter: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The part of a recipe that a trainer's settings, and peft's of its `adapter`, tell; what they leave out is not
    there, whatever its default."""
    train = _taken(settings, TRAIN)
    if (precision := _precision(settings)) is not None:
        train["precision"] = precision
    if (warmup := settings.get("warmup_ratio") or settings.get("warmup_steps")) is not None:
        train["warmup_steps"] = warmup
    if train.get("method") == "lora":
        train["lora"] = _taken(settings, LORA)
    if adapter and adapter.get("peft_type") == "LORA":
        train |= {"method": "lora", "lora": _taken(adapter, ADAPTER)}
    data = _taken(settings, DATA)
    if (packing := _packing(settings)) is not None:
        data["packing"] = packing
    model = {"template": settings["template"]} if isinstance(settings.get("template"), str) else {}
    return {name: block for name, block in (("model", model), ("data", data), ("train", train)) if block}


def shape(config: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a model's `config.json`."""
    return {f"model.{name}": config[name] for name in SHAPE if config.get(name) is not None}


def _taken(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        ours: VALUES.get(ours, _plain)(settings[theirs])
        for theirs, ours in names.items()
        if settings.get(theirs) is not None
    }


def _plain(value: Any) -> Any:
    """A number that YAML took for text, such as 5e-5, is a number."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _names(value: Any) -> Any:
    """One name, several with commas, or a list."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


VALUES: Mapping[str, Callable[[Any], Any]] = {"datasets": _names, "targets": _names}


def _packing(settings: Mapping[str, Any]) -> str | None:
    """LLaMA-Factory's `packing` alone is whole samples that see each other, which has no name here."""
    if settings.get("neat_packing"):
        return "exact"
    if settings.get("sft_packing"):
        return "naive"
    return "none" if {"packing", "sft_packing"} & settings.keys() and not settings.get("packing") else None


def _precision(settings: Mapping[str, Any]) -> str | None:
    told = [name for name in ("bf16", "fp16") if settings.get(name)] + (["bf16"] if settings.get("pure_bf16") else [])
    if told:
        return told[0]
    return "fp32" if {"bf16", "fp16"} & settings.keys() else None
