"""Rows to examples, and what is told of them: in the process, without a model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmctl_engine.config import DataConfig, EngineConfig, ModelConfig, TrainSettings
from llmctl_engine.errors import EngineError
from llmctl_engine.prepared import Prepared
from llmctl_engine.turns import Sample

pytestmark = pytest.mark.engine
ROW = {"instruction": "Q", "output": "A"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer."""
    from llmctl_engine.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("model")
    train_tokenizer([Sample(dataset="d", row=1, text="A question and its answer.")], vocab_size=300).save_pretrained(
        folder
    )
    return folder


def config(folder: Path, model: Path, rows: list[Any], *, stage: str = "sft", **data: Any) -> EngineConfig:
    (folder / "d.json").write_text(json.dumps(rows))
    return EngineConfig(
        run_id="r",
        device="cpu",
        output_dir="out",
        model=ModelConfig(path=str(model), template="xverse@0.2.0"),
        data=DataConfig(dir=str(folder), datasets=("d",), **{"cutoff_len": 160, "packing": "none", **data}),
        train=TrainSettings(stage=stage),
    )


def built(given: EngineConfig) -> tuple[Prepared, list[str]]:
    """What is trained on, and what is told of it."""
    from llmctl_engine.complaints import complaints
    from llmctl_engine.prepare import prepare

    made = prepare(given, Path(given.data.dir) / "cache", workers=1, progress=lambda done, total: None)
    return made, complaints(made.about["summary"])


def test_what_is_cut_and_left_out_is_told(tmp_path: Path, model: Path) -> None:
    from llmctl_engine.prepare import pieces
    from llmctl_engine.tokenizer import load_tokenizer

    rows = [
        ROW,
        {"instruction": "Q" * 200, "output": "A" * 200},
        {"instruction": "{{who}}?", "output": "I am {{name}}.</s>"},
        {"instruction": "Q" * 400, "output": "A"},
    ]
    given = config(tmp_path, model, rows, fill={"name": "llm"})
    made, told = built(given)
    summary = made.about["summary"]
    assert (summary["rows"], summary["examples"], len(made)) == (4, 3, 3)
    assert summary["cut_to_cutoff_len"]["rows"] == 2
    assert summary["cut_to_cutoff_len"]["first"] == ["d row 2", "d row 4"]
    assert summary["without_labels"] == {"rows": 1, "first": ["d row 4"]}
    assert [line.split(":")[0] for line in told] == [
        "cut to cutoff_len",
        "left out, because nothing of them carries a label",
        "answers hold </s> already, which the template writes too",
        "{{who}} stands in the data as it is",
    ]
    assert told[0].startswith("cut to cutoff_len: 2 rows (d row 2, d row 4), ")
    shown = pieces(made, 2, load_tokenizer(given.model))
    assert (shown["place"], shown["label_tokens"]) == ("d row 3", int((made.labels[2][1:] != -100).sum()))
    assert [carries for _, carries in shown["pieces"]] == [False, True]
    assert shown["pieces"][1][0].startswith("I am llm.")


def test_of_many_samples_without_a_label_the_first_places_are_kept() -> None:
    from llmctl_engine.building import chunk
    from llmctl_engine.complaints import complaints
    from llmctl_engine.data import Tally

    tally = Tally()
    for number in range(1, 8):
        tally.add(chunk([([1, 2], [-100, -100], f"d row {number}")]))
    summary = tally.summary("</s>")
    assert summary["without_labels"] == {"rows": 7, "first": [f"d row {number}" for number in range(1, 6)]}
    assert complaints(summary)[0].endswith("label: 7 rows (d row 1, d row 2, d row 3, d row 4, d row 5, ...)")


def test_nothing_is_told_of_whole_rows(tmp_path: Path, model: Path) -> None:
    assert built(config(tmp_path, model, [ROW] * 3))[1] == []


def test_every_turn_is_a_sample_of_its_own(tmp_path: Path, model: Path) -> None:
    given = config(tmp_path, model, [{**ROW, "history": [["one", "two"]]}, ROW], loss_on="split")
    made = built(given)[0]
    assert [made.place(number) for number in range(len(made))] == ["d row 1", "d row 1", "d row 2"]
    assert made.ids[1][: len(made.ids[0])].tolist() == made.ids[0].tolist()


def test_the_cutoff_rule_of_the_recipe_goes_before_the_templates(tmp_path: Path, model: Path) -> None:
    rows, end = [{"instruction": "Q" * 150, "output": "A" * 40}], 2
    old = built(config(tmp_path, model, rows, cutoff_len=128))[0]
    new = built(config(tmp_path, model, rows, cutoff_len=128, cutoff_rule="lf09"))[0]
    assert old.labels[0][-1] != end  # shares of both
    assert new.labels[0][-1] == end  # the short answer stays whole


def test_the_tail_of_plain_texts_is_told(tmp_path: Path, model: Path) -> None:
    made, told = built(config(tmp_path, model, [{"text": "x" * 100}], stage="pt", cutoff_len=64))
    assert (len(made), made.about["summary"]["tokens_dropped_at_the_end"]) == (1, 37)
    assert told == ["dropped: the last 37 tokens, which fill no block"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ROW, {"instruction": "Q"}], "d: 1 row with no output (2)"),
        ([{"instruction": "\ud800", "output": "A"}], "d: 1 row with text that is no Unicode"),
        ([], "no row to train on in d"),
        ([{"instruction": "Q" * 400, "output": "A"}], "no sample carries a label. raise data.cutoff_len"),
    ],
)
def test_rows_that_stop_a_run(tmp_path: Path, model: Path, rows: list[Any], words: str) -> None:
    with pytest.raises(EngineError) as caught:
        built(config(tmp_path, model, rows))
    assert words in str(caught.value)
    assert not list((tmp_path / "cache").glob("*"))


def test_a_line_that_is_no_json_is_counted(tmp_path: Path, model: Path) -> None:
    given = config(tmp_path, model, [])
    (tmp_path / "d.json").unlink()
    (tmp_path / "d.jsonl").write_text(f'{json.dumps(ROW)}\n{{"instruction": "Q", \n')
    with pytest.raises(EngineError, match=r"d: 1 row with no JSON \(2\)\. mend them, or set data.broken_rows"):
        built(given)
    made, told = built(replace(given, data=replace(given.data, broken_rows="skip")))
    assert len(made) == 1
    assert made.about["summary"]["rows"] == 2
    assert made.about["summary"]["broken_rows"] == [{"dataset": "d", "row": 2, "reason": "no JSON"}]
    assert told == ["skipped: d: 1 row with no JSON (2)"]


def test_tools_that_the_template_cannot_write_name_the_row(tmp_path: Path, model: Path) -> None:
    with pytest.raises(EngineError, match="d row 1: the template knows no tools"):
        built(config(tmp_path, model, [{**ROW, "tools": '[{"name": "f"}]'}]))


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "endless"
    shutil.copytree(model, folder)
    about = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**about, "eos_token": None}))
    with pytest.raises(EngineError, match="no end token"):
        built(config(tmp_path, folder, [ROW]))
