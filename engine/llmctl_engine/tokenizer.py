"""The run's tokenizer: the model's own, or a byte-level BPE trained on the run's data."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmctl_engine.config import ModelConfig
from llmctl_engine.errors import LOADING_ERRORS, EngineError, first_line
from llmctl_engine.families import FAMILIES
from llmctl_engine.turns import Sample

Tokenizer = Any
SPECIAL = ("<unk>", "<s>", "</s>")
"""Unknown (also padding), begin and end of a tokenizer made from scratch; ids 0, 1, 2."""


def load_tokenizer(model: ModelConfig, trained: Path | None = None) -> Tokenizer:
    """A tokenizer with a padding and an end token: the model's own, else the one that was `trained` and saved there.
    Raises EngineError when the folder holds none."""
    if model.path is None:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(trained, local_files_only=True)
    from transformers import AutoTokenizer

    if _needs_own_classes(model):
        from llmctl_engine import models

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


def leave_out_torch(model: ModelConfig) -> None:
    """Keep torch out of a process that only tokenises, where the tokenizer can do without: transformers then starts in
    a second instead of ten. Before transformers is imported; nothing else can be done with it then."""
    if not model.trust_remote_code and not _needs_own_classes(model) and "torch" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]  # found by nobody
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"


def _needs_own_classes(model: ModelConfig) -> bool:
    """Whether the folder is of one of the project's families, by what its config.json says."""
    try:
        config = json.loads((Path(model.path or "") / "config.json").read_text(encoding="utf-8"))
        named = {config.get("model_type"), *(config.get("architectures") or ())}
    except (OSError, ValueError, AttributeError, TypeError):
        return False  # told by transformers
    return bool(named & {"YuanForCausalLM", *(family["model_type"] for family in FAMILIES.values())})


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
