"""Templates, labels and rows: pure, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_engine import rows
from llmctl_engine.labels import CUTS, IGNORED, Room, build
from llmctl_engine.templates import BOS, EOS, TEMPLATES, Token, full_name, segments

lengths = st.integers(min_value=0, max_value=700)


@given(prompt=lengths, answer=lengths, left=st.integers(1, 512))
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_keeps_no_more_than_there_is(cut: str, prompt: int, answer: int, left: int) -> None:
    kept_prompt, kept_answer = CUTS[cut](prompt, answer, Room(left, 512))
    assert 0 <= kept_prompt <= prompt
    assert 0 <= kept_answer <= answer
    if cut == "0.9.5":
        assert kept_prompt + kept_answer <= left
        assert (kept_prompt, kept_answer) == (prompt, answer) or kept_prompt + kept_answer >= left - 1


@pytest.mark.parametrize(
    ("prompt", "answer", "cutoff", "kept"),
    # a short answer stays whole; a short prompt stays whole; two long sides share
    [(600, 100, 512, (412, 100)), (100, 600, 512, (100, 412)), (600, 300, 512, (342, 170)), (10, 20, 512, (10, 20))],
)
def test_the_rule_of_0_9_5(prompt: int, answer: int, cutoff: int, kept: tuple[int, int]) -> None:
    assert CUTS["0.9.5"](prompt, answer, Room(cutoff, cutoff)) == kept


@given(
    turns=st.lists(
        st.tuples(st.lists(st.integers(3, 9), max_size=40), st.lists(st.integers(3, 9), max_size=40)), max_size=4
    ),
    cutoff=st.integers(1, 64),
    end=st.sampled_from([None, 2]),
)
@pytest.mark.parametrize("cut", CUTS)
def test_built_samples_fit_and_label_what_is_there(
    cut: str, turns: list[tuple[list[int], list[int]]], cutoff: int, end: int | None
) -> None:
    ids, labels = build(turns, cut=cut, cutoff_len=cutoff, end=end)
    assert len(ids) == len(labels) <= cutoff
    assert all(label in (IGNORED, token, end) for token, label in zip(ids, labels, strict=True))


def test_efficient_eos_ends_each_answer_in_the_labels_only() -> None:
    ids, labels = build([([10, 11], [12]), ([13, 14], [15])], cut="0.2.0", cutoff_len=20, end=2)
    assert ids == [10, 11, 12, 13, 14, 15, 2]
    assert labels == [IGNORED, IGNORED, 12, 2, IGNORED, 15, 2]


TURNS = (("Q1", "A1"), ("Q2", "A2"))
SEGMENTS = {
    "default@0.9.5": [
        (("Human: Q1", EOS, "\nAssistant:"), ("A1", EOS, "\n")),
        (("Human: Q2", EOS, "\nAssistant:"), ("A2", EOS, "\n")),
    ],
    "llama2@0.9.5": [((BOS, "[INST] Q1 [/INST]"), ("A1", EOS)), ((BOS, "[INST] Q2 [/INST]"), ("A2", EOS))],
    "yuan@0.5.0": [
        (("Q1", Token("<sep>")), ("A1", Token("<eod>"))),
        (("\n", "Q2", Token("<sep>")), ("A2", Token("<eod>"))),
    ],
    "baichuan@0.2.0": [
        ((BOS, Token("<reserved_102>"), "Q1", Token("<reserved_103>")), ("A1",)),
        ((BOS, Token("<reserved_102>"), "Q2", Token("<reserved_103>")), ("A2",)),
    ],
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments(name: str) -> None:
    assert segments(TEMPLATES[name], TURNS) == SEGMENTS[name]


def test_system_texts_go_where_the_release_put_them() -> None:
    turn = (("Q", "A"),)
    assert segments(TEMPLATES["llama2@0.2.0"], turn, "S")[0][0] == (BOS, "[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] ")
    assert segments(TEMPLATES["default@0.2.0"], turn, "S")[0][0] == (BOS, "S", "\n", "Human: Q\nAssistant: ")
    assert segments(TEMPLATES["alpaca@0.9.5"], turn)[0][0][0].endswith("completes the request.\n\n")  # type: ignore[union-attr]


@given(query=st.text(), answer=st.text())
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_holds_the_texts_whole(name: str, query: str, answer: str) -> None:
    prompt, told = segments(TEMPLATES[name], [(query, answer)], "system {}")[0]
    assert query in "".join(part for part in prompt if isinstance(part, str))
    assert answer in "".join(part for part in told if isinstance(part, str))


def test_a_name_without_version_is_the_newest() -> None:
    assert full_name("yuan") == "yuan@0.9.5"
    assert full_name("baichuan2") == "baichuan2@0.2.0"
    assert full_name("nothing") is None
    assert full_name("default@9") is None


def _read(tmp_path: Path, content: object, *, stage: str = "sft", columns: dict[str, str] | None = None) -> rows.Rows:
    (tmp_path / "d.json").write_text(json.dumps(content), encoding="utf-8")
    if columns:
        (tmp_path / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "d.json", "columns": columns}}))
    return rows.read(rows.sources(tmp_path, ("d",)), stage=stage, max_samples=None)


def test_rows_become_conversations(tmp_path: Path) -> None:
    read = _read(
        tmp_path,
        [{"q": "What?", "input": "more", "output": "That.", "history": [["a", "b"]], "system": "Be brief."}],
        columns={"prompt": "q"},
    )
    assert read.samples == (
        rows.Sample(dataset="d", row=1, turns=(("a", "b"), ("What?\nmore", "That.")), system="Be brief."),
    )


def test_broken_rows_are_told_with_their_numbers(tmp_path: Path) -> None:
    good = {"instruction": "Q", "output": "A"}
    read = _read(
        tmp_path,
        [good, {"instruction": "Q"}, "text", {"instruction": "", "output": "A"}, {"instruction": "Q", "output": " "},
         {"instruction": 3, "output": "A"}, {**good, "history": [["a"]]}, *[{"instruction": "Q"}] * 6],
    )  # fmt: skip
    assert [sample.row for sample in read.samples] == [1]
    assert read.complaint() == (
        "d: 7 rows with no output (2, 8, 9, 10, 11, ...); d: 1 row with no keys and values (3); "
        "d: 1 row with no instruction (4); d: 1 row with an empty output (5); "
        "d: 1 row with a prompt that is no text (6); d: 1 row with a history that is no list of pairs (7)"
    )


def test_lines_of_text_and_of_json(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    (tmp_path / "l.jsonl").write_text('{"text": "three\u2028four\x85"}\nnot json\n', encoding="utf-8")
    read = rows.read(rows.sources(tmp_path, ("t", "l")), stage="pt", max_samples=None)
    assert [sample.text for sample in read.samples] == ["one", "two", "three\u2028four\x85"]
    assert read.complaint() == "l: 1 row with no text (2)"


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a list of rows"):
        _read(tmp_path, {"instruction": "Q"})
    with pytest.raises(ValueError, match="no dataset other in"):
        rows.sources(tmp_path, ("other",))
    (tmp_path / "dataset_info.json").write_text('{"s": {"file_name": "s.json", "formatting": "sharegpt"}}')
    with pytest.raises(ValueError, match="only alpaca rows"):
        rows.sources(tmp_path, ("s",))
    for text, words in (('{"s": {"hf_hub_url": "a/b"}}', "no file_name"), ('{"s": []}', "no file_name"), ("[]", "map")):
        (tmp_path / "dataset_info.json").write_text(text)
        with pytest.raises(ValueError, match=words):
            rows.sources(tmp_path, ("s",))


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(
        json.dumps([{"instruction": "Größe", "output": "1"}], ensure_ascii=False).encode("latin-1")
    )
    with pytest.raises(ValueError, match=r"d\.json: is no UTF-8 text: .* at byte \d+"):
        rows.read(rows.sources(tmp_path, ("d",)), stage="sft", max_samples=None)
