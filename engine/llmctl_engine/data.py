"""Datasets to token ids and labels, and what there is to say about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl_engine import hub, labels, packing, rows
from llmctl_engine.config import DataConfig, EngineConfig
from llmctl_engine.encoder import Encoder
from llmctl_engine.errors import EngineError
from llmctl_engine.sources import sources
from llmctl_engine.tokenizer import Tokenizer
from llmctl_engine.turns import Sample

_FIRST = 5
"""So many places are told of each complaint."""


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

    def place(self, number: int) -> str:
        """Where an example came from."""
        return self.examples[number].place

    def digest(self) -> str:
        """sha256 over all ids and labels, to prove that every rank trains on the same."""
        whole = hashlib.sha256()
        for example in self.examples:
            whole.update(repr((example.input_ids, example.labels)).encode())
        return whole.hexdigest()


def read_rows(config: EngineConfig) -> rows.Rows:
    """The rows of the run's datasets. Raises EngineError for what cannot be read, and for broken rows unless the
    recipe says to skip them."""
    data = config.data
    wanted = rows.Wanted(
        stage=config.train.stage,
        max_samples=data.max_samples,
        mix=data.mix,
        probabilities=data.probabilities,
        seed=config.train.seed,
        fill=data.fill,
    )
    try:
        read = rows.read(sources(Path(data.dir), data.datasets), wanted, fetch=hub.load)
    except (OSError, ValueError) as error:
        raise EngineError(str(error)) from error
    if read.broken and data.broken_rows == "stop":
        raise EngineError(read.complaint(), hint="mend them, or set data.broken_rows: skip")
    if not read.samples:
        raise EngineError(f"no row to train on in {', '.join(data.datasets)}")
    return read


def build_examples(config: EngineConfig, read: rows.Rows, tokenizer: Tokenizer) -> tuple[Examples, dict[str, Any]]:
    """All examples, and the summary that is written to `data_summary.json`. The tokenizer takes the template's EOS."""
    cut: dict[str, int] = {}
    ended: tuple[str, ...] = ()
    if config.train.stage == "pt":
        examples, tail = _blocks(tokenizer, read, config.data.cutoff_len)
    else:
        encoder = Encoder(tokenizer, config.model.template)
        encoder.adopt_eos()
        tail = 0
        if config.packing == "naive":
            examples, tail = _joined(encoder, read, config.data)
        else:
            examples, cut = _conversations(encoder, read, config.data)
        ended = _ended_already(read.samples, tokenizer.eos_token)
    kept = [example for example in examples if example.trains]
    if not kept:
        raise EngineError("no sample carries a label", hint="raise data.cutoff_len")
    summary = {
        "rows": len(read.samples) + len(read.broken),
        "broken_rows": [vars(broken) for broken in read.broken],
        "placeholders_left": {name: _counted(places) for name, places in read.placeholders.items()},
        "end_in_the_text": {"token": tokenizer.eos_token, **_counted(ended)},
        "examples": len(kept),
        "without_labels": [example.place for example in examples if not example.trains],
        "cut_to_cutoff_len": {**_counted(tuple(cut)), "tokens": sum(cut.values())},
        "tokens": sum(len(example.input_ids) for example in kept),
        "label_tokens": sum(label != labels.IGNORED for example in kept for label in example.labels[1:]),
        "tokens_dropped_at_the_end": tail,
    }
    return Examples(kept), summary


def complaints(summary: dict[str, Any]) -> list[str]:
    """What was left out, cut or left as it was, in a line each, with the first places."""
    cut, without, ended = summary["cut_to_cutoff_len"], summary["without_labels"], summary["end_in_the_text"]
    lines = []
    if cut["rows"]:
        lines.append(f"cut to cutoff_len: {_told(cut)}, {cut['tokens']} tokens lost")
    if without:
        lines.append(f"left out, because nothing of them carries a label: {_told(_counted(tuple(without)))}")
    if ended["rows"]:
        lines.append(f"answers hold {ended['token']} already, which the template writes too: {_told(ended)}")
    for name, left in summary["placeholders_left"].items():
        lines.append(f"{{{{{name}}}}} stands in the data as it is: {_told(left)}; data.fill gives it a text")
    if summary["tokens_dropped_at_the_end"]:
        lines.append(f"dropped: the last {summary['tokens_dropped_at_the_end']} tokens, which fill no block")
    return lines


def _counted(places: tuple[str, ...]) -> dict[str, Any]:
    return {"rows": len(places), "first": list(places[:_FIRST])}


def _told(counted: dict[str, Any]) -> str:
    rows, first = counted["rows"], ", ".join(counted["first"])
    return f"{rows} {'row' if rows == 1 else 'rows'} ({first}{', ...' if rows > _FIRST else ''})"


def _ended_already(samples: Iterable[Sample], eos: str) -> tuple[str, ...]:
    return tuple(sample.place for sample in samples if any(eos in turn.answer for turn in sample.turns))


def _conversations(encoder: Encoder, read: rows.Rows, data: DataConfig) -> tuple[list[Example], dict[str, int]]:
    rule = _rule(encoder, data, data.cutoff_len)
    examples: list[Example] = []
    cut: dict[str, int] = {}
    for sample, turns in zip(read.samples, encoder.pairs(read.samples), strict=True):
        for built in labels.build(turns, rule):
            if built.cut:
                cut[sample.place] = cut.get(sample.place, 0) + built.cut
            examples.append(Example(built.ids, built.labels, sample.place))
    return examples, cut


def _joined(encoder: Encoder, read: rows.Rows, data: DataConfig) -> tuple[list[Example], int]:
    """Whole samples, none of them cut, joined and cut to rows of `cutoff_len`; the tokens that fill no row."""
    rule = _rule(encoder, data, cutoff_len=2**40)
    # The end stands after the last sample of a batch alone, but labels inside a sample name it.
    stop = None if encoder.end is None else -1
    samples = (
        (built.ids[:stop], built.labels[:stop])
        for turns in encoder.pairs(read.samples)
        for built in labels.build(turns, rule)
    )
    joined = list(packing.join(samples, data.cutoff_len, encoder.end))
    whole = [row for each in joined for row in each.rows]
    return [Example(*row, f"block {number}") for number, row in enumerate(whole, 1)], sum(j.dropped for j in joined)


def _rule(encoder: Encoder, data: DataConfig, cutoff_len: int) -> labels.Rule:
    return labels.Rule(
        cutoff_rule=data.cutoff_rule or encoder.template.cutoff_rule,
        cutoff_len=cutoff_len,
        loss_on=data.loss_on,
        end=encoder.end,
    )


def _blocks(tokenizer: Tokenizer, read: rows.Rows, cutoff_len: int) -> tuple[list[Example], int]:
    """Texts, each ended by EOS, joined and cut to blocks of `cutoff_len`; the tokens of the last, partial block are
    dropped and counted. As LLaMA-Factory 0.9.5, which however drops a tail after every 1000 rows."""
    texts = [sample.text + tokenizer.eos_token for sample in read.samples]
    stream = [i for ids in tokenizer(texts, add_special_tokens=False)["input_ids"] for i in ids]
    whole = len(stream) // cutoff_len * cutoff_len
    blocks = [stream[start : start + cutoff_len] for start in range(0, whole, cutoff_len)]
    if getattr(tokenizer, "add_bos_token", False):
        for block in blocks:
            block[0] = tokenizer.bos_token_id
    return [Example(ids, list(ids), f"block {number}") for number, ids in enumerate(blocks, 1)], len(stream) - whole
