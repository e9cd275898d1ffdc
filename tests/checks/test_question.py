"""What is asked, what is told, and who counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmctl.checks.facts import Fact, Severity
from llmctl.checks.judge import UnknownPin
from llmctl.checks.question import KINDS, Question, findings
from llmctl.recipe.hosts import Node

NODES = [Node(name=f"node{i}") for i in range(1, 4)]


def told(question: Question, **values: Any) -> list[str]:
    """Codes for facts that all nodes have, or one a node."""
    facts = [Fact(name=KINDS.name, node=node.name, value=[]) for node in NODES]
    for name, value in values.items():
        each = value if isinstance(value, list) else [value] * len(NODES)
        facts += [Fact(name=name.replace("__", "."), node=n.name, value=v) for n, v in zip(NODES, each, strict=True)]
    return [finding.code for finding in findings(question, NODES, facts)]


def test_a_name_a_beginning_and_a_pattern_choose() -> None:
    chosen = Question(only=("driver", "disk.t*", "host.shm"))
    names = {row.name for group in chosen.rows.values() for row in group} - {KINDS.name}
    assert {"driver.version", "disk.tmp", "host.shm"} <= names
    assert all(name.startswith(("driver.", "disk.t")) or name == "host.shm" for name in names)


@pytest.mark.parametrize("only", ["clock", "clock.offset", "clock.differs"])
def test_a_finding_is_told_by_its_own_name_and_by_its_facts(only: str) -> None:
    clocks = [{"offset": offset, "error": 0.0} for offset in (0.0, 0.0, 90.0)]
    assert told(Question(only=(only,)), clock__offset=clocks) == ["clock.differs"]
    assert told(Question(only=("driver",)), clock__offset=clocks) == []


def test_a_name_that_no_node_was_asked_for_is_told_with_the_devices_that_have_it() -> None:
    bare = [Fact(name=KINDS.name, node=node.name, value=[]) for node in NODES]
    only = Question(only=("driver", "disk.tmp"))
    assert {"npu", "cuda"} <= set(only.unasked(bare)["driver"])
    assert "disk.tmp" not in only.unasked(bare)
    assert only.unasked([]) == {}, "nothing is known of nodes that gave no answer"
    assert only.unasked([Fact(name=KINDS.name, node="node1", value=["npu"]), *bare[1:]]) == {}
    assert set(replace(only, device="cpu").unasked(bare)) == {"driver"}


def test_a_rule_brings_the_facts_that_it_is_judged_from() -> None:
    chosen = Question(only=("compat.torch_npu",), device="npu")
    assert chosen.reads("package.torch")
    assert not chosen.reads("host.shm")


def test_what_is_asked_for_brings_no_more_than_it_is_judged_from() -> None:
    rows = Question(only=("environment",)).rows
    names = {row.name for group in rows.values() for row in group} - {KINDS.name}
    assert all(name.startswith("environment.") for name in names)
    assert Question(only=("host.limits",)).reads("rdma.ports")


def test_what_is_read_for_another_fact_is_not_compared() -> None:
    only = Question(only=("compat",), device="npu")
    torch = ["2.6.0", "2.6.0", "2.5.1"]
    assert told(only, package__torch=torch) == []
    assert "package.torch.differs" in told(replace(only, only=("compat", "package")), package__torch=torch)
    unread = Fact(name="package.torch", node="node1", error="no python")
    kinds = Fact(name=KINDS.name, node="node1", value=["npu"])
    assert [finding.code for finding in findings(only, NODES, [kinds, unread])] == ["package.torch.unknown"]


def test_a_pin_counts_whatever_is_asked_for() -> None:
    pinned = Question(device="npu", expect={"cann": "8.2.RC1"}, only=("driver",))
    assert told(pinned) == []
    with pytest.raises(UnknownPin, match="no_such"):
        told(replace(pinned, expect={"no_such": "1"}))


def test_a_majority_is_one_of_all_nodes_also_of_those_that_could_not_be_read() -> None:
    question = Question(device="npu", count=5)
    facts = [Fact(name=KINDS.name, node=node.name, value=["npu"]) for node in NODES]
    facts += [
        Fact(name="driver.version", node=node.name, value=value)
        for node, value in zip(NODES, ["25.0", "25.0", "24.1"], strict=True)
    ]
    (differs,) = [f for f in findings(question, NODES, facts) if f.code == "driver.version.differs"]
    assert differs.nodes == ()
    (differs,) = [f for f in findings(replace(question, count=3), NODES, facts) if f.code == "driver.version.differs"]
    assert (differs.nodes, differs.severity) == (("node3",), Severity.ERROR)
