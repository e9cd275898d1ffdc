"""Datasets to token ids and labels, and what there is to say about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl_engine import labels, rows
from llmctl_engine.config import EngineConfig
from llmctl_engine.errors import EngineError
from llmctl_engine.tokenizer import Encoder, Tokenizer


@dataclass(frozen=True)
class Example:
    """One training sample: ids and labels of the same length, and the place it came from."""

    input_ids: list[int]
    labels: list[int]
    place: str
    """`dataset row N`, or `block N` of joined texts."""

    @property
    def trains(self) -> bool:
        """Whether any token but the first, which nothing predicts, carries a label."""
        return any(label != labels.IGNORED for label in self.labels[1:])


class Examples:
    """A map-style dataset of torch, whose items also know their own number."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.examples[index]
        return {"input_ids": example.input_ids, "labels": example.labels, "index": index}

    def digest(self) -> str:
        """sha256 over all ids and labels, to prove that every rank trains on the same."""
        whole = hashlib.sha256()
        for example in self.examples:
            whole.update(repr((example.input_ids, example.labels)).encode())
        return whole.hexdigest()


def read_rows(config: EngineConfig) -> rows.Rows:
    """The rows of the run's datasets. Raises EngineError for what cannot be read, and for broken rows unless the
    recipe says to skip them."""
    try:
        found = rows.sources(Path(config.data.dir), config.data.datasets)
        read = rows.read(found, stage=config.train.stage, max_samples=config.data.max_samples)
    except (OSError, ValueError) as error:
        raise EngineError(str(error)) from error
    if read.broken and config.data.broken_rows == "stop":
        raise EngineError(read.complaint(), hint="mend them, or set data.broken_rows: skip")
    if not read.samples:
        raise EngineError(f"no row to train on in {', '.join(config.data.datasets)}")
    return read


def build_examples(config: EngineConfig, read: rows.Rows, tokenizer: Tokenizer) -> tuple[Examples, dict[str, Any]]:
    """All examples, and the summary that is written to `data_summary.json`."""
    encoder = Encoder(tokenizer, config.model.template)
    if config.train.stage == "pt":
        examples, tail = _blocks(encoder, read, config.data.cutoff_len)
        cut = 0
    else:
        examples, cut = _conversations(encoder, read, config.data.cutoff_len)
        tail = 0
    kept = [example for example in examples if example.trains]
    if not kept:
        raise EngineError("no sample carries a label", hint="raise data.cutoff_len")
    summary = {
        "rows": len(read.samples) + len(read.broken),
        "broken_rows": [vars(broken) for broken in read.broken],
        "examples": len(kept),
        "without_labels": [example.place for example in examples if not example.trains],
        "cut_to_cutoff_len": cut,
        "tokens": sum(len(example.input_ids) for example in kept),
        "label_tokens": sum(label != labels.IGNORED for example in kept for label in example.labels[1:]),
        "tokens_dropped_at_the_end": tail,
    }
    return Examples(kept), summary


def _conversations(encoder: Encoder, read: rows.Rows, cutoff_len: int) -> tuple[list[Example], int]:
    examples: list[Example] = []
    cut = 0
    for sample, turns in zip(read.samples, encoder.pairs(read.samples), strict=True):
        ids, targets = labels.build(turns, cut=encoder.template.cut, cutoff_len=cutoff_len, end=encoder.end)
        cut += len(ids) < sum(len(prompt) + len(answer) for prompt, answer in turns)
        examples.append(Example(ids, targets, f"{sample.dataset} row {sample.row}"))
    return examples, cut


def _blocks(encoder: Encoder, read: rows.Rows, cutoff_len: int) -> tuple[list[Example], int]:
    """Texts, each ended by EOS, joined and cut to blocks of `cutoff_len`; the tokens of the last, partial block are
    dropped and counted. As LLaMA-Factory 0.9.5, which however drops a tail after every 1000 rows."""
    eos: str = encoder.tokenizer.eos_token
    stream = [i for ids in encoder.texts([sample.text + eos for sample in read.samples]) for i in ids]
    whole = len(stream) // cutoff_len * cutoff_len
    blocks = [stream[start : start + cutoff_len] for start in range(0, whole, cutoff_len)]
    if getattr(encoder.tokenizer, "add_bos_token", False):
        for block in blocks:
            block[0] = encoder.tokenizer.bos_token_id
    return [Example(ids, list(ids), f"block {number}") for number, ids in enumerate(blocks, 1)], len(stream) - whole
