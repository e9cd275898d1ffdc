"""What carries loss and what is cut: pure, without torch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_engine.labels import IGNORED, LOSS_ON, RULES, Room, Rule, build, build_pair

lengths = st.integers(min_value=0, max_value=700)
ids = st.lists(st.integers(3, 9), max_size=40)
conversations = st.lists(st.tuples(ids, ids), min_size=1, max_size=4)
ends = st.sampled_from([None, 2])


def rule(name: str = "lf09", cutoff: int = 64, loss_on: str = "answers", end: int | None = None) -> Rule:
    return Rule(cutoff_rule=name, cutoff_len=cutoff, loss_on=loss_on, end=end)


@given(name=st.sampled_from([*RULES]), prompt=lengths, answer=lengths, left=st.integers(1, 512))
def test_a_rule_keeps_no_more_than_there_is(name: str, prompt: int, answer: int, left: int) -> None:
    kept_prompt, kept_answer = RULES[name](prompt, answer, Room(left, 512))
    assert 0 <= kept_prompt <= prompt
    assert 0 <= kept_answer <= answer
    if name == "lf09":
        assert kept_prompt + kept_answer <= left
        assert (kept_prompt, kept_answer) == (prompt, answer) or kept_prompt + kept_answer >= left - 1


@pytest.mark.parametrize(
    ("prompt", "answer", "cutoff", "kept"),
    # a short answer stays whole; a short prompt stays whole; two long sides share
    [(600, 100, 512, (412, 100)), (100, 600, 512, (100, 412)), (600, 300, 512, (342, 170)), (10, 20, 512, (10, 20))],
)
def test_the_rule_of_0_9(prompt: int, answer: int, cutoff: int, kept: tuple[int, int]) -> None:
    assert RULES["lf09"](prompt, answer, Room(cutoff, cutoff)) == kept


def test_the_rules_of_old_releases() -> None:
    # 0.2.0 cuts each turn to its shares of the whole cutoff, whatever is left; the others of what is left
    assert RULES["lf02"](300, 100, Room(20, 100)) == (75, 25)
    assert RULES["lf05"](300, 100, Room(20, 100)) == (4, 16)
    assert RULES["lf06"](300, 100, Room(20, 100)) == (15, 5)


def test_lf02_loses_the_end_of_long_conversations() -> None:
    turns = [([1] * 30, [3] * 10), ([1] * 30, [4] * 10)]
    (built,) = build(turns, rule("lf02", 50, end=2))
    assert (len(built.ids), built.labels[-1], built.cut) == (50, IGNORED, 31)
    (built,) = build(turns, rule("lf09", 50, end=2))
    assert (len(built.ids), built.labels[-1], built.cut) == (50, 2, 31)


@given(
    name=st.sampled_from([*RULES]),
    loss_on=st.sampled_from([*LOSS_ON]),
    turns=conversations,
    cutoff=st.integers(1, 64),
    end=ends,
)
def test_built_samples_fit_and_label_what_is_there(
    name: str, loss_on: str, turns: list[tuple[list[int], list[int]]], cutoff: int, end: int | None
) -> None:
    samples = build(turns, rule(name, cutoff, loss_on, end))
    assert len(samples) == (len(turns) if loss_on == "split" else 1)
    for built in samples:
        assert len(built.ids) == len(built.labels) <= cutoff
        assert all(label in (IGNORED, token, end) for token, label in zip(built.ids, built.labels, strict=True))
        assert built.cut >= 0
    whole = sum(len(prompt) + len(answer) for prompt, answer in turns) + (end is not None)
    assert samples[-1].cut == whole - len(samples[-1].ids)


def test_efficient_eos_ends_each_answer_in_the_labels_only() -> None:
    (built,) = build([([10, 11], [12]), ([13, 14], [15])], rule("lf02", 20, end=2))
    assert built.ids == [10, 11, 12, 13, 14, 15, 2]
    assert built.labels == [IGNORED, IGNORED, 12, 2, IGNORED, 15, 2]


TURNS = [([10, 11], [12, 13]), ([14], [15]), ([16, 17], [18])]
_ = IGNORED


@pytest.mark.parametrize(
    ("loss_on", "labels"),
    [
        ("answers", [[_, _, 12, 13, _, 15, _, _, 18]]),
        ("last", [[_, _, _, _, _, _, _, _, 18]]),
        ("split", [[_, _, 12, 13], [_, _, _, _, _, 15], [_, _, _, _, _, _, _, _, 18]]),
        ("all", [[10, 11, 12, 13, 14, 15, 16, 17, 18]]),
    ],
)
def test_what_carries_loss(loss_on: str, labels: list[list[int]]) -> None:
    samples = build(TURNS, rule(loss_on=loss_on))
    assert [built.labels for built in samples] == labels
    assert [built.ids for built in samples] == [list(range(10, 10 + len(row))) for row in labels]


def test_the_last_answer_keeps_the_last_turns() -> None:
    (built,) = build(TURNS, rule(cutoff=5, loss_on="last"))
    assert (built.ids, built.labels, built.cut) == ([14, 15, 16, 17, 18], [_, _, _, _, 18], 4)
    (built,) = build(TURNS, rule(cutoff=5, loss_on="last", end=2))
    assert (built.ids[-4:], built.labels[-2:]) == ([16, 17, 18, 2], [18, 2])


@given(name=st.sampled_from([*RULES]), turns=conversations, worse=ids, cutoff=st.integers(1, 64), end=ends)
def test_pairs_share_their_prompt(
    name: str, turns: list[tuple[list[int], list[int]]], worse: list[int], cutoff: int, end: int | None
) -> None:
    chosen, rejected = build_pair(turns, worse, rule(name, cutoff, end=end))
    prompt = chosen.labels.count(IGNORED)
    assert rejected.ids[:prompt] == chosen.ids[:prompt]
    assert max(len(chosen.ids), len(rejected.ids)) <= cutoff


def test_a_pair() -> None:
    chosen, rejected = build_pair([([10], [11]), ([12], [13])], [14, 15], rule(end=2))
    assert (chosen.ids, chosen.labels) == ([10, 11, 12, 13, 2], [_, _, _, 13, 2])
    assert (rejected.ids, rejected.labels) == ([10, 11, 12, 14, 15, 2], [_, _, _, 14, 15, 2])
