"""What transformers' Auto classes are told."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from transformers.models.auto import tokenization_auto

from llmctl_engine.models.baichuan import BaichuanConfig, BaichuanForCausalLM, BaichuanModel
from llmctl_engine.models.tokenizers import BaichuanTokenizer, YuanTokenizer
from llmctl_engine.models.yuan import YuanConfig, YuanForCausalLM, YuanModel

FAMILIES = (
    (BaichuanConfig, BaichuanModel, BaichuanForCausalLM, BaichuanTokenizer),
    (YuanConfig, YuanModel, YuanForCausalLM, YuanTokenizer),
)


class LlamaFolder:
    """Reads a config.json that says `llama`. Yuan's own training code writes that too; the architecture tells."""

    model_type = "llama"
    # Code that a folder brings stands above transformers' own where the recipe trusts it, but not above others'.
    __module__ = LlamaConfig.__module__

    def __new__(cls, **values: Any) -> Any:
        """The config that the values describe."""
        chosen = _llama_or_yuan(values)
        return chosen(**{key: value for key, value in values.items() if key != "model_type"})

    @staticmethod
    def from_dict(values: dict[str, Any], **more: Any) -> Any:
        """The same, as configs have it."""
        chosen = _llama_or_yuan(values)
        if chosen is YuanConfig:
            values = values | {"model_type": YuanConfig.model_type}
        return chosen.from_dict(values, **more)


def register() -> None:
    """Make the Auto classes load folders of the project's families. May be called again."""
    for config, model, language_model, tokenizer in FAMILIES:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, model, exist_ok=True)
        AutoModelForCausalLM.register(config, language_model, exist_ok=True)
        AutoTokenizer.register(config, tokenizer, exist_ok=True)
        # Published folders name LlamaTokenizer, or code of their own; with these two, the family's wins.
        tokenization_auto.TOKENIZER_MAPPING_NAMES[config.model_type] = tokenizer.__name__
        tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS.add(config.model_type)
    AutoConfig.register(LlamaFolder.model_type, LlamaFolder, exist_ok=True)


def _llama_or_yuan(values: dict[str, Any]) -> Any:
    yuan = YuanForCausalLM.__name__ in (values.get("architectures") or ())
    return YuanConfig if yuan else LlamaConfig
