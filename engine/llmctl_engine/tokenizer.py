"""The run's tokenizer: the model's own, or a byte-level BPE trained on the run's data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmctl_engine.config import ModelConfig
from llmctl_engine.errors import EngineError
from llmctl_engine.turns import Sample

Tokenizer = Any
SPECIAL = ("<unk>", "<s>", "</s>")
"""Unknown (also padding), begin and end of a tokenizer made from scratch; ids 0, 1, 2."""


def load_tokenizer(model: ModelConfig, samples: Iterable[Sample]) -> Tokenizer:
    """A tokenizer with a padding and an end token. Raises EngineError when the folder holds none."""
    if model.path is None:
        tokenizer = train_tokenizer(samples, vocab_size=int((model.init or {}).get("vocab_size", 8000)))
    else:
        from transformers import AutoTokenizer

        from llmctl_engine import models
        from llmctl_engine.models.folder import LOADING_ERRORS, first_line

        models.register()
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                model.path, trust_remote_code=model.trust_remote_code, local_files_only=True, padding_side="right"
            )
        except ImportError as error:
            raise EngineError(
                f"the tokenizer of {model.path} needs a package: {first_line(error)}",
                hint="pip install 'llmctl[engine]' on the nodes",
            ) from error
        except LOADING_ERRORS as error:
            raise EngineError(
                f"{model.path} holds no tokenizer that can be loaded: {first_line(error)}",
                hint="model.path must be a Hugging Face folder with tokenizer files",
            ) from error
    if tokenizer.eos_token_id is None:
        raise EngineError("the tokenizer has no end token", hint="set eos_token in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def train_tokenizer(samples: Iterable[Sample], *, vocab_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocab_size` tokens from the samples' texts; the same for the same samples."""
    from tokenizers import Tokenizer as Raw
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Raw(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        (text for sample in samples for text in sample.texts()),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    special = dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=SPECIAL[0], **special)
