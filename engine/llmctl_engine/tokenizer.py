"""The run's tokenizer: the model's own, or a byte-level BPE trained on the run's data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmctl_engine.config import ModelConfig
from llmctl_engine.errors import EngineError
from llmctl_engine.rows import Sample
from llmctl_engine.templates import TEMPLATES, Pair, Part, Template, Token, segments

Tokenizer = Any
SPECIAL = ("<unk>", "<s>", "</s>")
"""Unknown (also padding), begin and end of a tokenizer made from scratch; ids 0, 1, 2."""


def load_tokenizer(model: ModelConfig, samples: Iterable[Sample]) -> Tokenizer:
    """A tokenizer with a padding and an end token. Raises EngineError when the folder holds none, or lacks a special
    token of the chat template."""
    if model.path is None:
        tokenizer = train_tokenizer(samples, vocab_size=int((model.init or {}).get("vocab_size", 8000)))
    else:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                model.path, trust_remote_code=model.trust_remote_code, local_files_only=True, padding_side="right"
            )
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(
                f"{model.path} holds no tokenizer that can be loaded: {error}",
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
        (
            text
            for sample in samples
            for text in (sample.text, sample.system, *(t for turn in sample.turns for t in turn))
        ),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    special = dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=SPECIAL[0], **special)


class Encoder:
    """Parts to ids: each text is tokenised by itself, without special tokens of the tokenizer's own."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer = tokenizer
        self.template: Template = TEMPLATES[template]
        self._ids: dict[Part, list[int]] = {}
        self._check_special_tokens(template)

    def pairs(self, samples: Iterable[Sample]) -> list[list[tuple[list[int], list[int]]]]:
        """The (prompt, answer) ids of every turn of every sample; all texts go through the tokenizer at once."""
        told = [segments(self.template, sample.turns, sample.system) for sample in samples]
        self._learn(told)
        return [[(self._join(prompt), self._join(answer)) for prompt, answer in turns] for turns in told]

    def texts(self, texts: list[str]) -> list[list[int]]:
        """The ids of plain texts."""
        encoded: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return encoded

    @property
    def end(self) -> int | None:
        """The id that ends a whole sample, where the template wants one."""
        end: int = self.tokenizer.eos_token_id
        return end if self.template.efficient_eos else None

    def _learn(self, told: list[list[Pair]]) -> None:
        new = dict.fromkeys(
            part
            for turns in told
            for pair in turns
            for parts in pair
            for part in parts
            if isinstance(part, str) and part and part not in self._ids
        )
        self._ids |= zip(new, self.texts([part for part in new if isinstance(part, str)]), strict=True)

    def _join(self, parts: tuple[Part, ...]) -> list[int]:
        return [
            i for part in parts for i in (self._special(part) if isinstance(part, Token) else self._ids.get(part, []))
        ]

    def _special(self, token: Token) -> list[int]:
        if token.name == "bos":
            wanted = getattr(self.tokenizer, "add_bos_token", True) or self.template.cut != "0.2.0"
            return [self.tokenizer.bos_token_id] if wanted and self.tokenizer.bos_token_id is not None else []
        if token.name == "eos":
            return [self.tokenizer.eos_token_id]
        return [self.tokenizer.convert_tokens_to_ids(token.name)]

    def _check_special_tokens(self, template: str) -> None:
        parts = (*self.template.user, *self.template.answer)
        names = [part.name for part in parts if isinstance(part, Token) and part.name not in ("bos", "eos")]
        missing = [name for name in names if name not in self.tokenizer.get_vocab()]
        if missing:
            raise EngineError(
                f"the tokenizer has no {', '.join(missing)}, which the template {template} needs",
                hint="choose the template that the model was made with (model.template)",
            )
