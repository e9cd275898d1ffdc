"""The rows of a run, and what there is to say about what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llmctl_engine import hub, labels, packing, rows
from llmctl_engine.building import Chunk, chunk
from llmctl_engine.config import EngineConfig
from llmctl_engine.errors import EngineError
from llmctl_engine.rows import BrokenRow, Counted, Numbered, Rows, Wanted
from llmctl_engine.sources import REMEDY, Source, sources
from llmctl_engine.tokenizer import Tokenizer


def sources_of(config: EngineConfig) -> list[Source]:
    """The run's datasets. Raises EngineError for one that is not there or that has no sound description."""
    try:
        return sources(Path(config.data.dir), config.data.datasets)
    except (OSError, ValueError) as error:
        raise EngineError(str(error), hint=REMEDY) from error


def look(config: EngineConfig) -> Rows:
    """All rows of the run's datasets, looked at. Raises EngineError for what cannot be read, and for broken rows unless
    the recipe says to skip them."""
    data = config.data
    try:
        found = rows.read(sources_of(config), Wanted.of(config.train, data), fetch=hub.load)
    except (OSError, ValueError) as error:
        raise EngineError(str(error), hint=REMEDY) from error
    if found.broken and data.broken_rows == "stop":
        raise EngineError(found.complaint(), hint="mend them, or set data.broken_rows: skip")
    if not any(found.lengths):
        raise EngineError(f"no row to train on in {', '.join(data.datasets)}")
    return found


def in_order(config: EngineConfig, found: Sequence[Source]) -> Iterator[Numbered]:
    """Every row of the datasets, one dataset after the other. Raises EngineError for what cannot be read."""
    try:
        yield from rows.in_order(found, Wanted.of(config.train, config.data), fetch=hub.load)
    except (OSError, ValueError) as error:
        raise EngineError(str(error), hint=REMEDY) from error


def layout(config: EngineConfig, chunks: Iterable[Chunk], tokenizer: Tokenizer, end: int | None) -> Iterator[Chunk]:
    """The examples that are trained on: the samples themselves, or blocks of `cutoff_len` tokens of joined ones."""
    if config.train.stage == "pt":
        begin = tokenizer.bos_token_id if getattr(tokenizer, "add_bos_token", False) else None
        return _blocks(chunks, config.data.cutoff_len, begin)
    if config.packing == "naive":
        return _joined(chunks, config.data.cutoff_len, end)
    return iter(chunks)


def _blocks(chunks: Iterable[Chunk], cutoff_len: int, begin: int | None) -> Iterator[Chunk]:
    """Texts joined and cut, `begin` in place of the first token of each block; the tokens of the last, partial block
    are dropped. As LLaMA-Factory 0.9.5, which however drops a tail after every 1000 rows."""
    rest, number = np.empty(0, dtype=np.int32), 0
    for each in chunks:
        stream = np.concatenate((rest, each.ids))
        count = len(stream) // cutoff_len
        ids, rest = stream[: count * cutoff_len].copy(), stream[count * cutoff_len :]
        if begin is not None:
            ids[::cutoff_len] = begin
        places = [f"block {number + n}" for n in range(1, count + 1)]
        number += count
        yield Chunk(ids=ids, labels=ids, lengths=np.full(count, cutoff_len), places=places)
    yield chunk([], dropped=len(rest))


def _joined(chunks: Iterable[Chunk], cutoff_len: int, end: int | None) -> Iterator[Chunk]:
    number = 0
    for joined in packing.join((sample for each in chunks for sample in each.each()), cutoff_len, end):
        yield chunk(
            [(*row, f"block {number + n}") for n, row in enumerate(joined.rows, start=1)], dropped=joined.dropped
        )
        number += len(joined.rows)


@dataclass
class Tally:
    """Counts what is left out, cut and told while chunks go by."""

    rows: int = 0
    broken: list[BrokenRow] = field(default_factory=list)
    left: dict[str, Counted] = field(default_factory=dict)
    cut: Counted = field(default_factory=Counted)
    cut_tokens: int = 0
    ended: Counted = field(default_factory=Counted)
    examples: int = 0
    tokens: int = 0
    label_tokens: int = 0
    longest: int = 0
    dropped: int = 0
    without: Counted = field(default_factory=Counted)

    def see(self, built: Chunk) -> Chunk:
        """Count what became of the rows of a chunk, and give it on."""
        self.rows += built.rows
        self.broken += built.broken
        for name, places in built.left.items():
            counted = self.left.setdefault(name, Counted())
            for place in places:
                counted.add(place)
        self.cut_tokens += sum(built.cut.values())
        for place in built.cut:
            self.cut.add(place)
        for place in built.ended:
            self.ended.add(place)
        return built

    def add(self, laid: Chunk) -> None:
        """Count examples. Nothing predicts the first token of one, so its label does not count."""
        carries = laid.labels != labels.IGNORED
        starts = np.cumsum(laid.lengths) - laid.lengths
        self.examples += len(laid.lengths)
        self.tokens += len(laid.ids)
        self.label_tokens += int(carries.sum() - carries[starts].sum())
        self.longest = max(self.longest, int(laid.lengths.max(initial=0)))
        self.dropped += laid.dropped
        for place in laid.without:
            self.without.add(place)

    def summary(self, eos: str) -> dict[str, Any]:
        """What is written to `data_summary.json`; `eos` is the end token."""
        return {
            "rows": self.rows + len(self.broken),
            "broken_rows": [vars(broken) for broken in self.broken],
            "placeholders_left": {name: vars(left) for name, left in sorted(self.left.items())},
            "end_in_the_text": {"token": eos, **vars(self.ended)},
            "examples": self.examples,
            "without_labels": vars(self.without),
            "cut_to_cutoff_len": {**vars(self.cut), "tokens": self.cut_tokens},
            "tokens": self.tokens,
            "label_tokens": self.label_tokens,
            "tokens_dropped_at_the_end": self.dropped,
        }
