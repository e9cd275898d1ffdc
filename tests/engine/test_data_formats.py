"""Files of every form to samples: pure, without torch."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_engine import hub, mixing, rows
from llmctl_engine.rows import Wanted
from llmctl_engine.sources import sources
from llmctl_engine.turns import Sample, Turn

SHARED = Path(__file__).parents[2].parent / "shared/samples/data"
GOOD = {"instruction": "Q", "output": "A"}
CALL = '{"name": "f", "arguments": {"x": 1}}'


def read(
    folder: Path, content: Any, *, stage: str = "sft", info: dict[str, Any] | None = None, **wanted: Any
) -> rows.Rows:
    """Rows of the dataset d, whose file holds `content`."""
    (folder / "d.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    if info is not None:
        (folder / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "d.json", **info}}))
    return rows.read(sources(folder, ("d",)), Wanted(stage=stage, **wanted))


def one(folder: Path, row: dict[str, Any], *, stage: str = "sft", info: dict[str, Any] | None = None) -> Sample:
    found = read(folder, [row], stage=stage, info=info)
    assert not found.broken, found.complaint()
    return next(found.samples())


def wrong(folder: Path, row: Any, *, stage: str = "sft", info: dict[str, Any] | None = None) -> str:
    found = read(folder, [row], stage=stage, info=info)
    assert not len(found)
    return found.broken[0].reason


def test_alpaca(tmp_path: Path) -> None:
    row = {"q": "What?", "input": "more", "output": "That.", "history": [["a", "b"]], "system": "Be brief."}
    sample = one(tmp_path, row, info={"columns": {"prompt": "q"}})
    assert sample == Sample(
        dataset="d", row=1, turns=(Turn("a", "b"), Turn("What?\nmore", "That.")), system="Be brief."
    )
    assert one(tmp_path, row, info={"columns": {"prompt": "q", "query": None}}).turns[1].query == "What?"
    assert one(tmp_path, {**GOOD, "output": ["best", "worse"]}, info={}).turns == (Turn("Q", "best"),)


def test_sharegpt(tmp_path: Path) -> None:
    row = {
        "system": "S",
        "tools": '[{"name": "f"}]',
        "conversations": [
            {"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, {"from": "function_call", "value": CALL},
            {"from": "observation", "value": ""}, {"from": "gpt", "value": "A"},
        ],
    }  # fmt: skip
    assert one(tmp_path, row, info={"formatting": "sharegpt"}) == Sample(
        dataset="d",
        row=1,
        turns=(Turn("Q", CALL, calls=True), Turn("", "A", observed=True)),
        system="S",
        tools='[{"name": "f"}]',
    )


def test_openai(tmp_path: Path) -> None:
    row = {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": [{"type": "text", "text": "Q"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"type": "function", "function": {"name": "f", "arguments": {"x": 2}}},
            ]},
            {"role": "tool", "content": "one"}, {"role": "tool", "content": "two"},
            {"role": "assistant", "content": "A"},
        ],
    }  # fmt: skip
    sample = one(tmp_path, row, info={"formatting": "openai"})
    calls = '[{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 2}}]'
    assert sample.turns[0] == Turn("Q", calls, calls=True)
    assert sample.turns[1] == Turn("one\n</tool_response>\n<tool_response>\ntwo", "A", observed=True)
    assert json.loads(sample.tools) == row["tools"]


def _calling(calls: Any, content: Any = None, **beside: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": "Q"}
    return {"messages": [asked, {"role": "assistant", "content": content, "tool_calls": calls, **beside}]}


GOOD_CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("content", ["I look it up.", [{"type": "text", "text": "I look."}], 3])
def test_text_beside_calls_is_not_dropped_unsaid(tmp_path: Path, content: Any) -> None:
    reason = "content beside tool_calls, which would be lost"
    assert wrong(tmp_path, _calling([GOOD_CALL], content), info={"formatting": "openai"}) == reason


@pytest.mark.parametrize("content", [None, "", "\n", []])
def test_no_text_beside_calls_is_as_it_should_be(tmp_path: Path, content: Any) -> None:
    (turn,) = one(tmp_path, _calling([GOOD_CALL], content), info={"formatting": "openai"}).turns
    assert turn == Turn("Q", '[{"name": "f", "arguments": {}}]', calls=True)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking", "function_call"])
def test_what_stands_beside_an_answer_is_not_dropped_unsaid(tmp_path: Path, key: str) -> None:
    info, reason = {"formatting": "openai"}, f"{key}, which would be lost"
    asked, answer = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
    for beside in ("I think.", {"name": "f", "arguments": "{}"}):
        assert wrong(tmp_path, {"messages": [asked, {**answer, key: beside}]}, info=info) == reason
        assert wrong(tmp_path, _calling([GOOD_CALL], None, **{key: beside}), info=info) == reason
    pair = {"messages": [asked], "chosen": answer, "rejected": {**answer, "content": "B", key: "I think."}}
    assert wrong(tmp_path, pair, stage="dpo", info={**info, "ranking": True}) == reason
    for nothing in (None, "", "\n", {}):
        row = {"messages": [asked, {**answer, key: nothing}]}
        assert one(tmp_path, row, info=info).turns == (Turn("Q", "A"),)


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([{"function": {"name": "f", "arguments": '{"x": 1'}}], "arguments in tool_calls that are no JSON"),
        ([{"function": "f"}], "tool_calls that are no list of functions"),
        ({"name": "f"}, "tool_calls that are no list of functions"),
        ([{"function": {"arguments": "{}"}}], "a function call that is no JSON with name and arguments"),
    ],
)
def test_what_is_broken_in_calls_is_told(tmp_path: Path, calls: Any, reason: str) -> None:
    row = _calling(calls)
    assert wrong(tmp_path, row, info={"formatting": "openai"}) == reason
    pair = {"messages": row["messages"][:1], "chosen": _calling([GOOD_CALL])["messages"][1]}
    worse = {**pair, "rejected": row["messages"][1]}
    assert wrong(tmp_path, worse, stage="dpo", info={"formatting": "openai", "ranking": True}) == reason


def test_preference_pairs_of_both_styles(tmp_path: Path) -> None:
    expected = ((Turn("Q", "good"),), "bad")
    talk = [{"from": "human", "value": "Q"}]
    for row, info in (
        ({"instruction": "Q", "output": ["good", "bad"]}, {}),
        ({"instruction": "Q", "chosen": "good", "rejected": "bad"}, {}),
        (
            {
                "conversations": talk,
                "chosen": {"from": "gpt", "value": "good"},
                "rejected": {"from": "gpt", "value": "bad"},
            },
            {"formatting": "sharegpt"},
        ),
    ):
        sample = one(tmp_path, row, stage="dpo", info={"ranking": True, **info})
        assert (sample.turns, sample.rejected) == expected
    assert wrong(tmp_path, {"instruction": "Q", "output": "good"}, stage="dpo", info={"ranking": True})
    assert wrong(tmp_path, {"conversations": talk, "chosen": {"from": "gpt", "value": "good"}}, stage="dpo",
                 info={"ranking": True, "formatting": "sharegpt"}) == "no rejected"  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"output": ["good", "bad", "worst"]}, "more than a better and a worse output"),
        ({"output": ["same", "same"]}, "a better answer that is the worse one too"),
        ({"chosen": "same", "rejected": "same"}, "a better answer that is the worse one too"),
    ],
)
def test_pairs_that_are_none(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    assert wrong(tmp_path, {"instruction": "Q", **row}, stage="dpo", info={"ranking": True}) == reason


def test_two_systems_are_told(tmp_path: Path) -> None:
    row = {"system": "one", **_talk(("system", "other"), ("human", "Q"), ("gpt", "A"))}
    info = {"formatting": "sharegpt"}
    assert wrong(tmp_path, row, info=info) == "a system beside another among the messages"
    assert one(tmp_path, row, info={**info, "columns": {"system": None}}).system == "other"


def test_judged_answers(tmp_path: Path) -> None:
    info = {"columns": {"kto_tag": "label"}}
    assert one(tmp_path, {**GOOD, "label": False}, stage="kto", info=info).desired is False
    assert wrong(tmp_path, {**GOOD, "label": "yes"}, stage="kto", info=info) == "a label that is neither true nor false"


def test_a_dataset_that_the_stage_cannot_use_is_refused(tmp_path: Path) -> None:
    for stage, info, words in (
        ("sft", {"ranking": True}, "holds pairs of a better and a worse answer, and stage sft trains on plain answers"),
        ("sft", {"columns": {"kto_tag": "label"}}, "holds judged answers"),
        ("dpo", {}, "stage dpo trains on pairs"),
    ):
        with pytest.raises(ValueError, match=words):
            read(tmp_path, [GOOD], stage=stage, info=info)


def test_broken_rows_are_told_with_their_numbers(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        [GOOD, {"instruction": "Q"}, "text", {"instruction": "", "output": "A"}, {"instruction": "Q", "output": " "},
         {"instruction": 3, "output": "A"}, {**GOOD, "history": [["a"]]}, *[{"instruction": "Q"}] * 6],
    )  # fmt: skip
    assert [sample.row for sample in found.samples()] == [1]
    assert found.complaint() == (
        "d: 7 rows with no output (2, 8, 9, 10, 11, ...); d: 1 row with no keys and values (3); "
        "d: 1 row with no instruction (4); d: 1 row with an empty output (5); "
        "d: 1 row with a prompt that is no text (6); d: 1 row with a history that is no list of pairs (7)"
    )


def _talk(*said: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": value} for role, value in said]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (_talk(), "no conversations"),
        ({"conversations": "Q"}, "no conversations"),
        ({"conversations": ["Q", "A"]}, "a message without keys and values"),
        (_talk(("human", "Q"), ("robot", "A")), "an unknown role 'robot'"),
        (_talk(("human", "Q"), ("human", "A")), "roles that do not alternate"),
        (_talk(("gpt", "A"), ("human", "Q")), "roles that do not alternate"),
        (_talk(("human", "Q")), "no answer at the end"),
        (_talk(("human", "Q"), ("gpt", "A"), ("gpt", "B")), "roles that do not alternate"),
        (_talk(("human", "Q"), ("gpt", None)), "a message that is no text"),
        (_talk(("human", "Q"), ("gpt", "")), "an empty answer"),
        (_talk(("human", ""), ("gpt", "A")), "an empty query"),
        (_talk(("human", "Q"), ("function_call", "f(1)")), "a function call that is no JSON with name and arguments"),
        ({**_talk(("human", "Q"), ("gpt", "A")), "tools": "f"}, "tools that are no JSON list of descriptions"),
        ({**_talk(("human", "Q"), ("gpt", "A")), "system": 1}, "a system or tools that are no text"),
    ],
)
def test_broken_conversations(tmp_path: Path, row: Any, reason: str) -> None:
    assert wrong(tmp_path, row, info={"formatting": "sharegpt"}) == reason


KEYS = [
    "conversations", "messages", "from", "value", "role", "content", "tools", "system", "chosen", "rejected", "name",
    "arguments", "function", "parameters", "properties", "tool_calls", "instruction", "output", "history",
]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["human", "gpt", CALL])
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
)


@given(row=ANYTHING, formatting=st.sampled_from(["alpaca", "sharegpt", "openai"]), ranking=st.booleans())
def test_no_row_ends_in_a_crash(row: Any, formatting: str, ranking: bool) -> None:
    from llmctl_engine import shapes
    from llmctl_engine.sources import COLUMNS, OPENAI_TAGS, TAGS, Source

    source = Source(name="d", files=(), formatting=formatting, ranking=ranking, columns=COLUMNS,
                    tags=OPENAI_TAGS if formatting == "openai" else TAGS)  # fmt: skip
    assert isinstance(shapes.conversation(row, source, 1), Sample | str)
    assert isinstance(shapes.text(row, source, 1), Sample | str)


def test_files_of_every_form(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    (tmp_path / "lines.jsonl").write_text('{"text": "three\u2028four\x85"}\nnot json\n', encoding="utf-8")
    (tmp_path / "table.csv").write_text('\ufeffinstruction,output\r\n"five, ""6""\nseven",A\r\n', encoding="utf-8")
    (tmp_path / "misnamed.json").write_text('{"text": "eight"}\n{"text": "nine"}\n', encoding="utf-8")
    read = rows.read(sources(tmp_path, ("text", "lines", "table", "misnamed")), Wanted(stage="pt"))
    assert [sample.text for sample in read.samples()] == [
        "one", "two", "three\u2028four\x85", 'five, "6"\nseven', "eight", "nine",
    ]  # fmt: skip
    assert read.complaint() == "lines: 1 row with no JSON (2)"
    assert next(rows.read(sources(tmp_path, ("table",)), Wanted()).samples()).turns == (Turn('five, "6"\nseven', "A"),)


@pytest.mark.engine
def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "many").mkdir()
    row = {"instruction": "Q", "output": "A", "history": [["a", "b"]]}
    parquet.write_table(pyarrow.Table.from_pylist([row] * 3), tmp_path / "many/1.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([row] * 2), tmp_path / "many/2.parquet")
    (tmp_path / "dataset_info.json").write_text('{"d": {"file_name": "many", "num_samples": 4}}')
    found = rows.read(sources(tmp_path, ("d",)), Wanted())
    assert [sample.turns for sample in found.samples()] == [(Turn("a", "b"), Turn("Q", "A"))] * 4
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"bad\.parquet: is no Parquet"):
        rows.read(sources(tmp_path, ("bad",)), Wanted())


def test_parquet_without_pyarrow_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "d.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="needs pyarrow"):
        rows.read(sources(tmp_path, ("d",)), Wanted())


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a list of rows"):
        read(tmp_path, {"instruction": "Q"})
    with pytest.raises(ValueError, match="no dataset other in"):
        sources(tmp_path, ("other",))
    for text, words in (
        ('{"s": {"formatting": "xml"}}', "gives formatting 'xml'; there are alpaca, sharegpt, openai"),
        ('{"s": {"ms_hub_url": "a/b"}}', r"gives only ms_hub_url; put a local file s\.json beside it"),
        ('{"s": {"file_name": "gone.json"}}', r"no dataset s in .*: gone\.json is not there"),
        ('{"s": {"subset": "x"}}', "no file_name"),
        (
            '{"s": {"file_name": ["a.json", "b.json"]}}',
            r"gives file_name \['a\.json', 'b\.json'\]; it must be one path",
        ),
        ('{"s": {"file_name": "d.json", "columns": {"prompt": 3}}}', "must give names under columns"),
        ('{"s": []}', "keys and values"),
        ("[]", "map"),
        ("{", "no JSON"),
    ):
        (tmp_path / "dataset_info.json").write_text(text)
        with pytest.raises(ValueError, match=words):
            sources(tmp_path, ("s",))


@pytest.mark.parametrize("file_name", ["../..", "../d.json", "sub/../../d.json", "/etc/passwd", ".", ""])
def test_a_dataset_stays_in_its_folder(tmp_path: Path, file_name: str) -> None:
    (tmp_path / "d.json").write_text(json.dumps([GOOD]))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset_info.json").write_text(json.dumps({"d": {"file_name": file_name}}))
    with pytest.raises(ValueError, match=r"dataset d: .*info\.json gives file_name '.*': outside of its folder"):
        sources(folder, ("d",))
    with pytest.raises(ValueError, match=r"dataset \.\./d: outside of its folder"):
        sources(folder, ("../d",))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"colums": {}}, "has the unknown key colums; did you mean columns?"),
        ({"columns": {"promt": "q"}}, "has the unknown key columns.promt; did you mean columns.prompt?"),
        ({"formatting": "openai", "tags": {"role": "r"}}, "has the unknown key tags.role; did you mean tags.role_tag?"),
        ({"columns": {"xyz": "q"}}, "has the unknown key columns.xyz; there are prompt, query, response,"),
    ],
)
def test_a_misspelt_key_is_told(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"dataset d: .*dataset_info\.json {re.escape(words)}"):
        read(tmp_path, [GOOD], info=entry)


@pytest.mark.parametrize("given", [-2, 0, "2", 1.5, True])
def test_a_number_of_samples_is_a_number(tmp_path: Path, given: Any) -> None:
    with pytest.raises(ValueError, match=rf"dataset d: .* gives num_samples {given!r}; it must be a whole number"):
        read(tmp_path, [GOOD], info={"num_samples": given})


def test_what_llama_factory_knows_may_stay(tmp_path: Path) -> None:
    media = {"images": "images", "videos": "videos", "audios": "audios"}
    assert len(read(tmp_path, [GOOD], info={"folder": "python", "om_hub_url": "a/b", "columns": media})) == 1


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(json.dumps([{"instruction": "Größe"}], ensure_ascii=False).encode("latin-1"))
    with pytest.raises(ValueError, match=r"d\.json: is no UTF-8 text: .* at byte \d+"):
        rows.read(sources(tmp_path, ("d",)), Wanted())


def test_the_sha1_of_a_file_is_checked(tmp_path: Path) -> None:
    text = json.dumps([GOOD])
    assert len(read(tmp_path, [GOOD], info={"file_sha1": hashlib.sha1(text.encode()).hexdigest()})) == 1
    with pytest.raises(ValueError, match=r"d\.json has the sha1 .*, and dataset_info\.json says 607f94a7"):
        read(tmp_path, [GOOD], info={"file_sha1": "607f94a7"})


def test_local_files_go_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset_info.json").write_text('{"d": {"hf_hub_url": "some/where"}}')
    (source,) = sources(tmp_path, ("d",))
    assert source.hub == "some/where"
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ValueError, match=r"dataset d: the hub needs the package datasets; or put its rows beside"):
        rows.read([source], Wanted(), fetch=hub.load)
    (tmp_path / "d.json").write_text(json.dumps([GOOD]))
    assert sources(tmp_path, ("d",))[0].hub is None


def test_placeholders(tmp_path: Path) -> None:
    row = {"instruction": "Who?", "output": "I am {{name}} by {{ author }}, not {{other}}."}
    found = read(tmp_path, [row, GOOD], fill={"name": "小助手", "author": "us"})
    assert next(found.samples()).turns[0].answer == "I am 小助手 by us, not {{other}}."
    assert [rows.left(sample) for sample in found.samples()] == [{"other"}, set()]


def test_datasets_are_mixed(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 1)):
        (tmp_path / f"{name}.json").write_text(json.dumps([GOOD] * count))

    def places(mix: str) -> list[str]:
        read = rows.read(sources(tmp_path, ("a", "b")), Wanted(mix=mix))
        return [f"{sample.dataset}{sample.row}" for sample in read.samples()]

    assert places("concat") == ["a1", "a2", "a3", "b1"]
    assert places("interleave_under") == ["a1", "b1"]
    assert places("interleave_over") == ["a1", "b1", "a2", "b1", "a3", "b1"]
    with pytest.raises(ValueError, match="without rows"):
        list(mixing.order([3, 0], mix="interleave_over"))
    with pytest.raises(ValueError, match="one with probability 0 gives none"):
        mixing.order([3, 2], mix="interleave_over", probabilities=(1.0, 0.0))


@pytest.mark.engine
@pytest.mark.parametrize("over", [True, False])
@pytest.mark.parametrize("probabilities", [(), (0.7, 0.1, 0.2)])
def test_the_order_is_that_of_datasets(over: bool, probabilities: tuple[float, ...]) -> None:
    import datasets

    lengths = [40, 3, 11]
    made = [datasets.Dataset.from_dict({"at": [[n, row] for row in range(length)]}) for n, length in enumerate(lengths)]
    mix = "interleave_over" if over else "interleave_under"
    expected = datasets.interleave_datasets(
        made, list(probabilities) or None, seed=7, stopping_strategy="all_exhausted" if over else "first_exhausted"
    )["at"]
    assert [list(at) for at in mixing.order(lengths, mix=mix, probabilities=probabilities, seed=7)] == list(expected)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the samples of real data are not beside this checkout")
@pytest.mark.parametrize(
    ("dataset", "stage", "count"),
    [("alpaca_en_demo", "sft", 999), ("alpaca_zh_demo", "sft", 1000), ("identity", "sft", 91), ("wiki_demo", "pt", 30),
     ("glaive_toolcall_en_demo", "sft", 300), ("dpo_en_demo", "dpo", 300), ("kto_en_demo", "kto", 300)],
)  # fmt: skip
def test_real_data_is_read_whole(dataset: str, stage: str, count: int) -> None:
    found = rows.read(sources(SHARED, (dataset,)), Wanted(stage=stage))
    assert len(found) + len(found.broken) == count
    assert len(found.broken) <= 2, found.complaint()
    if dataset == "identity":
        assert set().union(*map(rows.left, found.samples())) == {"name", "author"}
