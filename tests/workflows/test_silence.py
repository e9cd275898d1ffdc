"""Which silent nodes count as lost."""

from __future__ import annotations

from llmctl.workflows.silence import LONGEST_ROUND, Silence

NODES = ("a", "b")


def test_a_node_is_lost_when_it_alone_is_silent_for_long() -> None:
    silence = Silence()
    for _ in range(3):
        silence.round(NODES, {"a"}, 10, stepped=False)
        assert silence.lost == ()
    silence.round(NODES, {"a"}, 10, stepped=False)
    assert silence.lost == ("b",)
    silence.round(NODES, {"a", "b"}, 1, stepped=False)
    assert silence.lost == ()


def test_a_step_shows_that_the_ranks_of_a_silent_node_live() -> None:
    silence = Silence()
    for turn in range(100):
        silence.round(NODES, {"a"}, 10, stepped=turn % 3 == 0)
        assert silence.lost == ()


def test_when_all_are_silent_this_machine_is_away() -> None:
    silence = Silence()
    for _ in range(100):
        silence.round(NODES, set(), 10, stepped=False)
        assert silence.alone
        assert silence.lost == ()
    silence.round(NODES, {"a"}, 10, stepped=False)
    assert not silence.alone
    assert silence.lost == (), "it is given the time that the others had"


def test_a_sleep_of_this_machine_loses_no_node() -> None:
    silence = Silence()
    silence.round(NODES, {"a"}, 3600, stepped=False)
    assert silence.lost == ()


def test_time_in_which_nobody_answers_is_counted_but_not_the_sleep_of_this_machine() -> None:
    silence = Silence()
    silence.round(NODES, set(), 10, stepped=False)
    silence.round(NODES, set(), 8 * 3600, stepped=False)
    assert silence.deserted == 10 + LONGEST_ROUND
    silence.round(NODES, {"b"}, 1, stepped=False)
    assert silence.deserted == 0
