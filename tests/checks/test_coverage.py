"""Nodes agree only on what was compared; the last line of a check says so."""

from __future__ import annotations

import pytest

from llmctl.checks.coverage import coverage
from llmctl.checks.facts import Fact
from llmctl.checks.question import Question
from llmctl.cli.check import conclusion
from llmctl.recipe.hosts import Node
from llmctl.workflows.check import CheckResult


def facts(name: str, *values: object) -> list[Fact]:
    """One fact on node1, node2, ..."""
    return [Fact(name=name, node=f"node{n}", value=value) for n, value in enumerate(values, 1)]


def told(only: tuple[str, ...], found: list[Fact], expected: tuple[str, ...] = (), *, stopped: bool = False) -> str:
    question = Question(count=2, only=only)
    names = dict.fromkeys(fact.node for fact in found)
    return conclusion(
        CheckResult(
            question=question, nodes=tuple(Node(name=name) for name in names), facts=tuple(found), findings=(),
            interrupted=stopped, coverage=coverage(question, found, expected),
        )
    )  # fmt: skip


KINDS = facts("accelerator.kinds", [], [])
ARCH = facts("os.arch", "x86_64", "x86_64")
LIMITS = facts("host.limits", {}, {})


@pytest.mark.parametrize(
    ("only", "found", "line"),
    [
        ((), [*KINDS, *ARCH], "2 of 2 nodes read, 2 facts each: they agree"),
        (("driver",), KINDS, "2 of 2 nodes read, 0 facts each: nothing of driver was compared"),
        (("os.arch",), [*KINDS, *ARCH], "2 of 2 nodes read, 1 fact each: they agree"),
        (("host",), [*KINDS, *LIMITS], "2 of 2 nodes read, 1 fact each: nothing is wrong, nothing was compared"),
        (("os",), [KINDS[0], ARCH[0]], "1 of 1 node read, 1 fact: nothing of os was compared"),
    ],
)
def test_what_was_not_compared_does_not_agree(only: tuple[str, ...], found: list[Fact], line: str) -> None:
    assert told(only, found) == line


def test_one_node_can_be_held_against_a_pin_alone() -> None:
    assert told((), [KINDS[0], ARCH[0]], ("os.arch",)).endswith("it is as expected")


def test_what_is_not_known_was_not_compared() -> None:
    unknown = [Fact(name="os.arch", node=node, error="no uname") for node in ("node1", "node2")]
    assert "agree" not in told((), [*KINDS, *unknown])


def test_interrupted_is_never_called_agreement() -> None:
    line = told((), [*KINDS, *ARCH], stopped=True)
    assert line.endswith("2 facts each: nothing is wrong so far; interrupted, not all was asked")
