"""Conversations to token ids: each segment is tokenised by itself, and the ids are joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmctl_engine.encoding import Ids, encoder_of
from llmctl_engine.errors import EngineError
from llmctl_engine.own_template import OWN_TEMPLATE, own_segments
from llmctl_engine.templates import BOS, EOS, OWN, TEMPLATES, Pair, Part, Template, Token, segments
from llmctl_engine.tokenizer import Tokenizer
from llmctl_engine.turns import Sample


class Encoder:
    """Parts to ids, without special tokens of the tokenizer's own. Raises EngineError for a template that the tokenizer
    cannot express: one of its special tokens is not in the vocabulary, or is no single token there."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer = tokenizer
        self.texts = encoder_of(tokenizer)
        """The ids of plain texts."""
        self.name = template
        self.template: Template = OWN_TEMPLATE if template == OWN else TEMPLATES[template]
        self._check_special_tokens()

    def pairs(self, samples: Iterable[Sample]) -> list[list[tuple[Ids, Ids]]]:
        """The (prompt, answer) ids of every turn of every sample; all texts go through the tokenizer at once, equal
        ones as one. Raises EngineError for a sample that the template cannot write."""
        told = [self._segments(sample) for sample in samples]
        known = self._known(told)
        return [[(_join(prompt, known), _join(answer, known)) for prompt, answer in turns] for turns in told]

    @property
    def end(self) -> int | None:
        """The id that ends a whole sample, where the template wants one."""
        return self._special(EOS)[0] if self.template.efficient_eos else None

    def adopt_eos(self) -> None:
        """Make the template's EOS the tokenizer's own, so that what is saved ends its answers as it was trained to."""
        if self.template.replace_eos:
            self.tokenizer.eos_token = self.template.stop[0]

    def _segments(self, sample: Sample) -> list[Pair]:
        try:
            if self.name == OWN:
                return own_segments(self.tokenizer, sample.turns, sample.system, sample.tools)
            return segments(self.template, sample.turns, sample.system, sample.tools)
        except ValueError as error:
            raise EngineError(
                f"{sample.place}: {error}",
                hint=f"template {self.name}: choose another with model.template, see docs/templates.md",
            ) from error

    def _known(self, told: list[list[Pair]]) -> dict[Part, Ids]:
        parts = dict.fromkeys(part for turns in told for pair in turns for parts in pair for part in parts if part)
        texts = [part for part in parts if isinstance(part, str)]
        known: dict[Part, Ids] = {part: self._special(part) for part in parts if isinstance(part, Token)}
        return known | dict(zip(texts, self.texts(texts), strict=True))

    def _special(self, token: Token) -> Ids:
        if token == BOS:
            wanted = getattr(self.tokenizer, "add_bos_token", True) or not self.template.bos_as_tokenizer
            return [self.tokenizer.bos_token_id] if wanted and self.tokenizer.bos_token_id is not None else []
        if token == EOS and not self.template.replace_eos:
            return [self.tokenizer.eos_token_id]
        return [self.tokenizer.convert_tokens_to_ids(self.template.stop[0] if token == EOS else token.name)]

    def _check_special_tokens(self) -> None:
        if self.name == OWN:
            if not self.tokenizer.chat_template:
                raise EngineError(
                    "the tokenizer brings no chat template, which model.template: own needs",
                    hint="choose one of `llmctl recipes templates`",
                )
            return
        vocabulary = self.tokenizer.get_vocab()
        wanted = self.template.special_tokens()
        inside = {token for token in wanted if any(isinstance(p, str) and token in p for p in self.template.segments())}
        missing = [
            token
            for token in wanted
            if token not in vocabulary or (token in inside and self.texts([token])[0] != [vocabulary[token]])
        ]
        if missing:
            raise EngineError(
                f"the tokenizer has no {', '.join(missing)}, which the template {self.name} needs",
                hint="choose the template that the model was made with (model.template)",
            )


def _join(parts: tuple[Part, ...], known: Mapping[Part, Ids]) -> Ids:
    ids: Ids = []
    for part in parts:
        if part:
            ids += known[part]
    return ids
