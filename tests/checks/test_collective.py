"""What the ranks told of one all_reduce, judged."""

from __future__ import annotations

from typing import Any

from llmctl.checks.collective import NAME, judge_collective
from llmctl.checks.facts import Severity

NODES = ["node1", "node2", "node3"]


def told(
    node: int, state: str = "done", error: str | None = None, peers: dict[str, float] | None = None
) -> dict[str, Any]:
    ranks = {str(node - 1): {"state": state, "seconds": 0.01, "error": error}}
    return {"ranks": ranks, "peers": peers or {}, "absent": []}


def test_ranks_that_met_give_no_finding() -> None:
    values = {NAME: {name: told(i) for i, name in enumerate(NODES, start=1)}}
    assert judge_collective(values, NODES) == []
    assert judge_collective({}, NODES) == []


def test_the_node_whose_rank_did_not_start_is_named_and_those_that_waited_are_not() -> None:
    values = {
        NAME: {
            "node1": told(1, "arrived", "wait timeout after 45000ms"),
            "node2": told(2, "arrived", "connection was closed"),
            "node3": told(3, "started", "OSError: no libhccl.so"),
        }
    }
    (finding,) = judge_collective(values, NODES)
    assert (finding.code, finding.severity, finding.nodes) == ("collective.wrong", Severity.ERROR, ("node3",))
    assert finding.title == "node3: rank 2 did not start: OSError: no libhccl.so"


def test_when_all_arrived_everyone_who_failed_is_told() -> None:
    values = {NAME: {"node1": told(1, "joined", "the sum is 5.0, not 6.0"), "node2": told(2)}}
    (finding,) = judge_collective(values, NODES)
    assert "node1: rank 0 failed after it joined: the sum is 5.0, not 6.0" in finding.title


def test_a_slow_node_is_told_beside_the_others() -> None:
    values = {NAME: {"node1": told(1, peers={"node2": 0.004, "node3": 0.9})}}
    (finding,) = judge_collective(values, NODES)
    assert (finding.code, finding.severity, finding.nodes) == ("collective.slow", Severity.WARNING, ("node3",))
    assert "node3 900 ms, the other nodes 4 ms" in finding.title
    assert judge_collective({NAME: {"node1": told(1, peers={"node2": 0.001, "node3": 0.019})}}, NODES) == []
    assert judge_collective({NAME: {"node1": told(1, peers={"node2": 9.0})}}, NODES) == []
