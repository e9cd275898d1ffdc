"""A few rows to token ids and labels in arrays: what a worker process does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmctl_engine import labels
from llmctl_engine.config import EngineConfig
from llmctl_engine.encoder import Encoder
from llmctl_engine.encoding import encoder_of
from llmctl_engine.rows import BrokenRow, Numbered, Wanted, left, shaped
from llmctl_engine.sources import Source
from llmctl_engine.tokenizer import Tokenizer
from llmctl_engine.turns import Sample

Numbers = NDArray[Any]
UNCUT = 1 << 40
"""More tokens than a sample has."""


@dataclass
class Chunk:
    """Samples one after the other, and what there is to say about their rows."""

    ids: Numbers
    """int32, as `labels`."""
    labels: Numbers
    lengths: Numbers
    """Of each sample, int64."""
    places: list[str] = field(default_factory=list)
    """Of each sample."""
    without: list[str] = field(default_factory=list)
    """The places of samples that are left out, because nothing of them carries a label."""
    cut: dict[str, int] = field(default_factory=dict)
    """How many tokens were cut away, by the place."""
    ended: list[str] = field(default_factory=list)
    """The places of rows whose answers hold the end token as text."""
    rows: int = 0
    """Rows of the data that it is of."""
    broken: list[BrokenRow] = field(default_factory=list)
    """Rows beside those."""
    left: dict[str, list[str]] = field(default_factory=dict)
    """The places of rows with a `{{name}}` that nothing filled in, by the name."""
    dropped: int = 0
    """Tokens that filled no block."""

    def each(self) -> Iterator[tuple[list[int], list[int]]]:
        """Ids and labels of every sample."""
        end = 0
        for length in self.lengths.tolist():
            start, end = end, end + length
            yield self.ids[start:end].tolist(), self.labels[start:end].tolist()


def chunk(samples: Sequence[tuple[Sequence[int], Sequence[int], str]], dropped: int = 0) -> Chunk:
    """Ids, labels and places of samples, those without a label set aside: of the first token, which nothing predicts,
    it does not count."""
    kept: list[tuple[Sequence[int], Sequence[int], str]] = []
    without: list[str] = []
    for sample in samples:
        if sample[1].count(labels.IGNORED) < len(sample[1]) - (sample[1][0] != labels.IGNORED):
            kept.append(sample)
        else:
            without.append(sample[2])
    return Chunk(
        ids=_flat(sample[0] for sample in kept),
        labels=_flat(sample[1] for sample in kept),
        lengths=np.array([len(sample[0]) for sample in kept], dtype=np.int64),
        places=[sample[2] for sample in kept],
        without=without,
        dropped=dropped,
    )


class Builder:
    """Rows to chunks, as the run wants them. Raises EngineError for a template that the tokenizer cannot express."""

    def __init__(self, config: EngineConfig, found: Sequence[Source], tokenizer: Tokenizer) -> None:
        self.wanted, self.found, self.tokenizer = Wanted.of(config.train, config.data), found, tokenizer
        self.encoder: Encoder | None = None
        if config.train.stage == "pt":
            self.texts = encoder_of(tokenizer)
            return
        self.encoder = Encoder(tokenizer, config.model.template)
        self.encoder.adopt_eos()
        self.joins = config.packing == "naive"
        self.rule = labels.Rule(
            cutoff_rule=config.data.cutoff_rule or self.encoder.template.cutoff_rule,
            cutoff_len=UNCUT if self.joins else config.data.cutoff_len,
            loss_on=config.data.loss_on,
            end=self.encoder.end,
        )

    @property
    def end(self) -> int | None:
        """The id that ends a whole sample, where the template wants one."""
        return None if self.encoder is None else self.encoder.end

    def build(self, given: Sequence[Numbered]) -> Chunk:
        """The samples of some rows. For plain text a sample is a whole text; for `naive` packing it is uncut, and its
        end is left to who joins it. Raises EngineError for a row that the template cannot write."""
        samples: list[Sample] = []
        broken: list[BrokenRow] = []
        for row in given:
            source = self.found[row.source]
            taken = shaped(row.row, source, row.number, self.wanted)
            if isinstance(taken, Sample):
                samples.append(taken)
            else:
                broken.append(BrokenRow(dataset=source.name, row=row.number, reason=taken))
        built = self._texts(samples) if self.encoder is None else self._conversations(self.encoder, samples)
        built.rows, built.broken = len(samples), broken
        for sample in samples:
            for name in left(sample):
                built.left.setdefault(name, []).append(sample.place)
        return built

    def _texts(self, samples: Sequence[Sample]) -> Chunk:
        """Texts, each ended by EOS."""
        texts = [sample.text + self.tokenizer.eos_token for sample in samples]
        encoded = self.texts(texts)
        ids = _flat(encoded)
        lengths = np.array([len(text) for text in encoded], dtype=np.int64)
        return Chunk(ids=ids, labels=ids, lengths=lengths, places=[sample.place for sample in samples])

    def _conversations(self, encoder: Encoder, samples: Sequence[Sample]) -> Chunk:
        made = []
        cut: dict[str, int] = {}
        # The end stands after the last of many joined samples alone, but labels inside a sample name it.
        stop = -1 if self.joins and encoder.end is not None else None
        for sample, turns in zip(samples, encoder.pairs(samples), strict=True):
            for built in labels.build(turns, self.rule):
                if built.cut:
                    cut[sample.place] = cut.get(sample.place, 0) + built.cut
                made.append((built.ids[:stop], built.labels[:stop], sample.place))
        found = chunk(made)
        found.cut = cut
        eos = self.tokenizer.eos_token
        found.ended = [sample.place for sample in samples if any(eos in turn.answer for turn in sample.turns)]
        return found


def _flat(lists: Any) -> Numbers:
    return np.fromiter(chain.from_iterable(lists), dtype=np.int32)
