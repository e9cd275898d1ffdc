"""The run's model: from a local folder or made from scratch, in full or with LoRA."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from llmctl_engine.config import EngineConfig, LoraSettings, ModelConfig
from llmctl_engine.errors import LOADING_ERRORS, EngineError, first_line
from llmctl_engine.families import FAMILIES
from llmctl_engine.tokenizer import Tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_model(config: EngineConfig, tokenizer: Tokenizer) -> Any:
    """The model, ready for the Trainer. Weights that are trained are fp32; a frozen base under LoRA is in the run's
    precision. Raises EngineError for a folder that holds no model."""
    train = config.train
    dtype = DTYPES[train.precision] if train.method == "lora" else torch.float32
    if config.model.path is not None:
        model = _from_folder(config.model, Path(config.model.path), dtype)
    else:
        model = _from_scratch(config.model, tokenizer, dtype)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise EngineError(
            f"the tokenizer has {len(tokenizer)} tokens, the model {model.get_input_embeddings().num_embeddings}",
            hint="tokenizer and weights are of different models",
        )
    model.config.use_cache = False
    if train.method == "lora":
        model = _with_lora(model, train.lora)
        if train.gradient_checkpointing:
            model.enable_input_require_grads()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return model


def _from_folder(source: ModelConfig, path: Path, dtype: torch.dtype) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    from llmctl_engine import models
    from llmctl_engine.models.folder import assert_known, assert_whole, read_json

    models.register()
    assert_whole(path)
    own_code = "auto_map" in read_json(path / "config.json") and not source.trust_remote_code
    named = {"trust_remote_code": source.trust_remote_code, "local_files_only": True}
    try:
        model_config = AutoConfig.from_pretrained(path, **named)
        model, loaded = AutoModelForCausalLM.from_pretrained(
            path,
            config=_of_family(model_config, source.family, path),
            dtype=dtype,
            attn_implementation=source.attention,
            **named,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except UnpicklingError as error:
        raise EngineError(
            f"{path} holds a pickle that is more than tensors, or broken; it was not run",
            hint="get the weights as safetensors, or from who made them",
        ) from error
    except (*LOADING_ERRORS, SafetensorError, StrictDataclassError) as error:
        raise EngineError(
            f"{path} holds no model that can be loaded: {type(error).__name__}: {first_line(error)}",
            hint="model.trust_remote_code: true runs the code in it, if you trust that" if own_code else _other(source),
        ) from error
    _assert_all_there(path, loaded)
    assert_known(path, model, loaded["unexpected_keys"])
    return model


def _other(source: ModelConfig) -> str:
    return f"if {source.attention} is what is missing, leave model.attention out" if source.attention else ""


def _of_family(model_config: Any, family: str | None, path: Path) -> Any:
    """The config with what the family says. Raises EngineError where it is of another kind."""
    if family is None:
        return model_config
    told = FAMILIES[family]
    if model_config.model_type != told["model_type"]:
        raise EngineError(
            f"{path} is a {model_config.model_type}, model.family says {family}", hint="leave model.family out"
        )
    for key, value in told.items():
        if key != "model_type":
            setattr(model_config, key, value)
    return model_config


def _assert_all_there(path: Path, loaded: dict[str, Any]) -> None:
    """Raises EngineError where weights were missing or had another shape than the config says."""
    for name, found, wanted in sorted(loaded["mismatched_keys"], key=str):
        raise EngineError(
            f"{path}: {name} is of {tuple(found)}, after config.json it should be of {tuple(wanted)}",
            hint="config.json and weights are of different models",
        )
    missing, unexpected = sorted(loaded["missing_keys"]), sorted(loaded["unexpected_keys"])
    if missing:
        raise EngineError(
            f"{path} lacks {len(missing)} of the model's weights: {_some(missing)}",
            hint=f"config.json is of another model: the weights have {_some(unexpected)}"
            if unexpected
            else "they would be random numbers; copy the whole folder",
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _from_scratch(source: ModelConfig, tokenizer: Tokenizer, dtype: torch.dtype) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    from llmctl_engine import models

    models.register()
    init = (source.init or {}) | (FAMILIES[source.family] if source.family else {})
    values = {key: value for key, value in init.items() if key != "model_type"}
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    try:
        config = AutoConfig.for_model(init.get("model_type", "llama"), **special | values)
        config._attn_implementation = source.attention
        # Not `from_config`, which under ZeRO-3 draws other random weights than one process does.
        return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config).to(dtype)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, StrictDataclassError) as error:
        raise EngineError(f"model.init makes no model: {' '.join(str(error).split())}", hint=_other(source)) from error


def _with_lora(model: Any, lora: LoraSettings) -> Any:
    from peft import LoraConfig, PeftModel, get_peft_model

    from llmctl_engine.models.lora import lora_targets

    if lora.adapter is not None:
        try:
            return PeftModel.from_pretrained(model, lora.adapter, is_trainable=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise EngineError(f"{lora.adapter} holds no adapter for this model: {error}") from error
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha or 2 * lora.r,
        lora_dropout=lora.dropout,
        target_modules=lora_targets(model.config, lora.targets),
    )
    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise EngineError(f"train.lora: {error}", hint="train.lora.targets are names of the model's modules") from error
