"""What follows from a failed attempt."""

from __future__ import annotations

from typing import Any

import pytest

from llmctl.run.attempts import Attempt, Decision, Policy, Reason, decide, opened_attempts, read_attempts

ALL = (Reason.NODE_LOST, Reason.SSH, Reason.COLLECTIVE_TIMEOUT, Reason.RANK_KILLED)


def attempt(reason: Reason | None, *, number: int = 1, **values: Any) -> Attempt:
    return Attempt(**{"number": number, "started": 1.0, "nodes": ("a", "b"), "reason": reason, **values})


LOST_B = attempt(Reason.NODE_LOST, node="b", lost=("b",))
KILLED_B = attempt(Reason.RANK_KILLED, node="b")


@pytest.mark.parametrize(
    ("attempts", "policy", "pool", "nodes", "awaited", "why"),
    [
        ([LOST_B], Policy(retries=0, on=ALL), ["c"], None, (), ""),
        ([LOST_B], Policy(retries=2, on=ALL), ["c"], ("a", "c"), (), "retry 1 of 2, c in the place of b"),
        ([LOST_B], Policy(retries=2, on=ALL), [], ("a", "b"), ("b",), "retry 1 of 2"),
        ([LOST_B], Policy(retries=2, on=ALL), ["a", "b"], ("a", "b"), ("b",), "retry 1 of 2"),
        (
            [attempt(Reason.NODE_LOST, node="a", lost=("a",))],
            Policy(retries=1, on=ALL),
            ["c", "d"],
            ("c", "b"),
            (),
            "c in the place of a",
        ),
        (
            [attempt(Reason.NODE_LOST, lost=("a", "b"))],
            Policy(retries=1, on=ALL),
            ["c"],
            ("c", "b"),
            ("b",),
            "c in the place of a",
        ),
        ([LOST_B], Policy(retries=1, on=(Reason.RANK_KILLED,)), ["c"], None, (), "node_lost is not retried"),
        ([attempt(Reason.JOB_ERROR)], Policy(retries=1, on=ALL), ["c"], None, (), "an error of the job is not retried"),
        ([KILLED_B], Policy(retries=1, on=ALL), ["c"], ("a", "b"), (), "retry 1 of 1"),
        (
            [KILLED_B, attempt(Reason.RANK_KILLED, number=2, node="b", automatic=True)],
            Policy(retries=2, on=ALL),
            ["c"],
            ("a", "c"),
            (),
            "retry 2 of 2, c in the place of b",
        ),
        (
            [LOST_B, attempt(Reason.NODE_LOST, number=2, nodes=("a", "c"), lost=("a",), automatic=True)],
            Policy(retries=1, on=ALL),
            ["b"],
            None,
            (),
            "all 1 retries are used up",
        ),
        (
            [
                attempt(Reason.NODE_LOST, lost=("b",)),
                attempt(Reason.NODE_LOST, number=2, lost=("b",), automatic=True),
                attempt(Reason.NODE_LOST, number=3, lost=("b",)),
            ],
            Policy(retries=1, on=ALL),
            ["c"],
            ("a", "c"),
            (),
            "retry 1 of 1",
        ),
        ([attempt(Reason.COLLECTIVE_TIMEOUT)], Policy(retries=1, on=ALL), ["c"], ("a", "b"), (), "retry 1 of 1"),
    ],
)
def test_what_follows(
    attempts: list[Attempt],
    policy: Policy,
    pool: list[str],
    nodes: tuple[str, ...] | None,
    awaited: tuple[str, ...],
    why: str,
) -> None:
    found = decide(attempts, policy, pool)
    assert (found.nodes, found.awaited) == (nodes, awaited)
    assert why in found.why


def test_attempts_go_through_the_manifest_and_close_the_one_before() -> None:
    first = attempt(None, lost=("b",))
    told = opened_attempts([first], attempt(None, number=2, started=9.0, automatic=True))
    read = read_attempts({"attempts": told})
    assert [each.number for each in read] == [1, 2]
    assert read[0].ended == 9.0
    assert read[0].lost == ("b",)
    assert read_attempts({}) == []


def test_a_line_tells_where_and_why_an_attempt_ended() -> None:
    ended = attempt(
        Reason.RANK_KILLED, node="b", rank=1, exit_code=137, from_step=20, last_step=27, ended=2.0, number=2
    )
    assert ended.line() == "attempt 2 on a, b from step 20: rank killed on b rank 1 (exit code 137) at step 27"
    assert attempt(None).line() == "attempt 1 on a, b from step 0"


def test_what_torchrun_replaced_by_itself_is_no_retry() -> None:
    replaced = attempt(Reason.RANK_KILLED, number=2, elastic=True)
    chain = [attempt(Reason.RANK_KILLED), replaced, attempt(Reason.NODE_LOST, number=3, lost=("b",), automatic=True)]
    assert decide(chain, Policy(retries=2, on=ALL), ["c"]).nodes == ("a", "c")
    assert decide(chain, Policy(retries=1, on=ALL), ["c"]).nodes is None


def test_without_retries_nothing_is_decided() -> None:
    assert decide([LOST_B], Policy(retries=0, on=ALL), []) == Decision(nodes=None)
