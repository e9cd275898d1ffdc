"""Which samples share a row."""

from __future__ import annotations

import bisect
import json
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from llmctl_engine import prepared
from llmctl_engine.config import DataConfig, EngineConfig, ModelConfig, TrainSettings
from llmctl_engine.packing import join, pack, padding
from llmctl_engine.prepared import Ragged


def _by_the_rule(lengths: list[int], cutoff_len: int) -> list[list[int]]:
    """Neat packing as it is described: always the longest that fits, the last one of equals."""
    left = sorted((length, number) for number, length in enumerate(lengths))
    rows = []
    while left:
        row, room = [], cutoff_len
        while place := bisect.bisect(left, (room, len(lengths))):
            length, number = left.pop(place - 1)
            row.append(number)
            room -= length
        rows.append(row)
    return rows


def test_rows_are_those_of_neat_packing() -> None:
    assert list(pack([5, 3, 8, 3, 2], 8)) == [[2], [0, 3], [1, 4]]
    assert list(pack([4, 4, 4], 8)) == [[2, 1], [0]]
    draw = random.Random(1)
    for _ in range(200):
        cutoff_len = draw.choice((3, 16, 40))
        lengths = [draw.randint(1, cutoff_len) for _ in range(draw.randint(0, 60))]
        assert list(pack(lengths, cutoff_len)) == _by_the_rule(lengths, cutoff_len), (lengths, cutoff_len)


def test_every_sample_is_in_one_row_and_no_row_is_too_long() -> None:
    lengths = np.clip(np.random.default_rng(2).lognormal(5, 0.8, 50_000).astype(np.int64), 1, 2048)
    rows = list(pack(lengths, 2048))
    assert sorted(number for row in rows for number in row) == list(range(50_000))
    filled = [int(lengths[row].sum()) for row in rows]
    assert max(filled) == 2048
    assert len(rows) == -(-int(lengths.sum()) // 2048), "no better packing exists for lengths like these"


def test_packing_takes_few_bytes_a_sample() -> None:
    lengths = np.clip(np.random.default_rng(3).lognormal(5, 0.8, 100_000).astype(np.int64), 1, 1024)
    tracemalloc.start()
    try:
        packs = Ragged.of(pack(lengths, 1024))
        shares = prepared.padding(lengths, packs, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(packs.flat) == len(lengths)
    assert shares["with"] is not None
    assert peak < 30 * len(lengths)


@pytest.mark.parametrize("lengths", [[3, 9], [3, 0]])
def test_a_sample_that_fits_no_row(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit in rows of 8"):
        next(pack(lengths, 8))


def test_joined_texts_are_cut_anywhere_and_begin_anew_after_a_thousand() -> None:
    samples = [([number, number, number], [-100, number, number]) for number in range(1001)]
    first, second = join(samples, 7, end=5000)
    assert first.rows[0] == ([0, 0, 0, 1, 1, 1, 2], [-100, 0, 0, -100, 1, 1, -100])
    assert (len(first.rows), first.dropped) == (428, 5), "3000 tokens and one end"
    assert (second.rows, second.dropped) == ([], 4)
    (short,) = join(samples[:2], 7, end=5000)
    assert short.rows == [([0, 0, 0, 1, 1, 1, 5000], [-100, 0, 0, -100, 1, 1, 5000])]
    (plain,) = join(samples[:2], 5, end=None)
    assert (plain.rows, plain.dropped) == ([([0, 0, 0, 1, 1], [-100, 0, 0, -100, 1])], 1)


@pytest.mark.engine
def test_naive_rows_are_the_samples_themselves_joined(tmp_path: Path) -> None:
    """Uncut, and with the end of an efficient template behind the last one only; a later turn's label of it stays."""
    from llmctl_engine.prepare import prepare
    from llmctl_engine.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([], vocab_size=300)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<reserved_102>", "<reserved_103>"]})
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"instruction": "Q" * count, "output": "A" * 9, "history": [["q", "a"]]} for count in (3, 20, 5)]
    (tmp_path / "d.json").write_text(json.dumps(rows))

    def made(packing: str, cutoff_len: int) -> list[tuple[list[int], list[int]]]:
        given = EngineConfig(
            run_id="r",
            device="cpu",
            output_dir="out",
            model=ModelConfig(path=str(tmp_path / "model"), template="baichuan@0.2.0"),
            data=DataConfig(dir=str(tmp_path), datasets=("d",), cutoff_len=cutoff_len, packing=packing),
            train=TrainSettings(),
        )
        found = prepare(given, tmp_path / packing, workers=1, progress=lambda done, total: None)
        return [(ids.tolist(), labels.tolist()) for ids, labels in zip(found.ids, found.labels, strict=True)]

    samples, eos = made("none", 200), tokenizer.eos_token_id
    for number in (0, 1):
        stream = [i for sample in samples for i in sample[number][:-1]] + [eos]
        wanted = [stream[start : start + 32] for start in range(0, len(stream) - 31, 32)]
        assert [row[number] for row in made("naive", 32)] == wanted
        assert stream.count(eos) == (1, 4)[number]


def test_the_padding_to_expect() -> None:
    assert padding([8, 16, 24], 1) == 0
    assert [rows for rows in range(2, 40) if padding([256] * rows, 4) < 0] == []
    assert padding([5, 8], 1) == pytest.approx(1 - 13 / 16), "to a multiple of 8"
    draw = np.random.default_rng(3)
    lengths = draw.integers(1, 500, 3000)
    drawn = -(-draw.choice(lengths, (20_000, 4)) // 8) * 8
    assert padding(lengths, 4) == pytest.approx(1 - lengths.mean() / drawn.max(axis=1).mean(), abs=0.003)
