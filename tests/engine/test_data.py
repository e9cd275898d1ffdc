"""Rows to examples, and what is told of them: in the process, without a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmctl_engine.config import DataConfig, EngineConfig, ModelConfig, TrainSettings
from llmctl_engine.errors import EngineError
from llmctl_engine.turns import Sample

pytestmark = pytest.mark.engine
ROW = {"instruction": "Q", "output": "A"}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from llmctl_engine.tokenizer import train_tokenizer

    return train_tokenizer([Sample(dataset="d", row=1, text="A question and its answer.")], vocab_size=300)


def config(folder: Path, rows: list[Any], *, stage: str = "sft", **data: Any) -> EngineConfig:
    (folder / "d.json").write_text(json.dumps(rows))
    return EngineConfig(
        run_id="r",
        device="cpu",
        output_dir="out",
        model=ModelConfig(template="xverse@0.2.0"),
        data=DataConfig(dir=str(folder), datasets=("d",), **{"cutoff_len": 160, "packing": "none", **data}),
        train=TrainSettings(stage=stage),
    )


def built(given: EngineConfig, tokenizer: Any) -> tuple[list[Any], dict[str, Any], list[str]]:
    from llmctl_engine.data import build_examples, complaints, read_rows

    examples, summary = build_examples(given, read_rows(given), tokenizer)
    return examples.examples, summary, complaints(summary)


def test_what_is_cut_and_left_out_is_told(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        ROW,
        {"instruction": "Q" * 200, "output": "A" * 200},
        {"instruction": "{{who}}?", "output": "I am {{name}}.</s>"},
        {"instruction": "Q" * 400, "output": "A"},
    ]
    examples, summary, told = built(config(tmp_path, rows, fill={"name": "llm"}), tokenizer)
    assert (summary["rows"], summary["examples"], len(examples)) == (4, 3, 3)
    assert summary["cut_to_cutoff_len"]["rows"] == 2
    assert summary["cut_to_cutoff_len"]["first"] == ["d row 2", "d row 4"]
    assert summary["without_labels"] == ["d row 4"]
    assert [line.split(":")[0] for line in told] == [
        "cut to cutoff_len",
        "left out, because nothing of them carries a label",
        "answers hold </s> already, which the template writes too",
        "{{who}} stands in the data as it is",
    ]
    assert told[0].startswith("cut to cutoff_len: 2 rows (d row 2, d row 4), ")
    assert "I am llm." in tokenizer.decode(examples[2].input_ids)


def test_nothing_is_told_of_whole_rows(tmp_path: Path, tokenizer: Any) -> None:
    assert built(config(tmp_path, [ROW] * 3), tokenizer)[2] == []


def test_every_turn_is_a_sample_of_its_own(tmp_path: Path, tokenizer: Any) -> None:
    given = config(tmp_path, [{**ROW, "history": [["one", "two"]]}, ROW], loss_on="split")
    examples = built(given, tokenizer)[0]
    assert [example.place for example in examples] == ["d row 1", "d row 1", "d row 2"]
    assert examples[1].input_ids[: len(examples[0].input_ids)] == examples[0].input_ids


def test_the_cutoff_rule_of_the_recipe_goes_before_the_templates(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"instruction": "Q" * 150, "output": "A" * 40}]
    old = built(config(tmp_path, rows, cutoff_len=128), tokenizer)[0][0]
    new = built(config(tmp_path, rows, cutoff_len=128, cutoff_rule="lf09"), tokenizer)[0][0]
    assert old.labels[-1] != tokenizer.eos_token_id  # shares of both
    assert new.labels[-1] == tokenizer.eos_token_id  # the short answer stays whole


def test_the_tail_of_plain_texts_is_told(tmp_path: Path, tokenizer: Any) -> None:
    examples, summary, told = built(config(tmp_path, [{"text": "x" * 100}], stage="pt", cutoff_len=64), tokenizer)
    assert (len(examples), summary["tokens_dropped_at_the_end"]) == (1, 37)
    assert told == ["dropped: the last 37 tokens, which fill no block"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ROW, {"instruction": "Q"}], "d: 1 row with no output (2)"),
        ([{"instruction": "\ud800", "output": "A"}], "d: 1 row with text that is no Unicode"),
        ([], "no row to train on in d"),
    ],
)
def test_rows_that_stop_a_run(tmp_path: Path, tokenizer: Any, rows: list[Any], words: str) -> None:
    with pytest.raises(EngineError) as caught:
        built(config(tmp_path, rows), tokenizer)
    assert words in str(caught.value)


def test_a_line_that_is_no_json_is_counted(tmp_path: Path, tokenizer: Any) -> None:
    given = config(tmp_path, [])
    (tmp_path / "d.json").unlink()
    (tmp_path / "d.jsonl").write_text(f'{json.dumps(ROW)}\n{{"instruction": "Q", \n')
    with pytest.raises(EngineError, match=r"d: 1 row with no JSON \(2\)"):
        built(given, tokenizer)
    kept = replace(given, data=replace(given.data, broken_rows="skip"))
    examples, summary, _ = built(kept, tokenizer)
    assert len(examples) == 1
    assert summary["broken_rows"] == [{"dataset": "d", "row": 2, "reason": "no JSON"}]


def test_tools_that_the_template_cannot_write_name_the_row(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(EngineError, match="d row 1: the template knows no tools"):
        built(config(tmp_path, [{**ROW, "tools": '[{"name": "f"}]'}]), tokenizer)


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    from llmctl_engine.tokenizer import load_tokenizer

    tokenizer.save_pretrained(tmp_path)
    about = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**about, "eos_token": None}))
    with pytest.raises(EngineError, match="no end token"):
        load_tokenizer(ModelConfig(path=str(tmp_path)), [])
