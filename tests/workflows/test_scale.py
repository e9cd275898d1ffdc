"""A check of many nodes: what is asked, judged and folded grows with the nodes, not with their pairs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.thousand import Absent, Village
from llmctl.checks.facts import Fact, Severity
from llmctl.checks.question import Question, findings
from llmctl.errors import NodeError
from llmctl.remote.transport import CommandResult
from llmctl.workflows.check import check_nodes

ROOT = Path(__file__).parents[2]


def test_a_thousand_nodes_are_checked_within_wide_bounds() -> None:
    """The figures are those of `bench.scale`; here only what would be another order of growth fails."""
    argv = [sys.executable, "-m", "bench.scale", "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["nodes"], told["errors"]) == (1000, 0)
    assert told["facts"] > 30_000
    assert told["cpu"] < 15
    assert told["wall"] < 60
    assert told["memory"] < 500


class Dead(Absent):
    """A node that is lost at once."""

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        raise NodeError("the connection was lost", where=self.node.name)


def test_of_many_nodes_the_odd_and_the_dead_are_named_and_the_rest_folded() -> None:
    village = Village.of(200, 0.0)
    transports: dict[str, Any] = dict(village.transports())
    transports["node0007"] = Dead(village.nodes[6], village)
    result = check_nodes(village.nodes, transports, Question())
    assert list(result.errors) == ["node0007"]
    assert len({fact.node for fact in result.facts}) == 199

    def odd(fact: Fact) -> Fact:
        away = fact.name == "os.arch" and fact.node in ("node0003", "node0004", "node0005")
        return replace(fact, value="aarch64") if away else fact

    facts = [odd(fact) for fact in result.facts]
    (found,) = [each for each in findings(Question(), village.nodes, facts) if each.code == "os.arch.differs"]
    assert found.severity is Severity.ERROR
    assert found.nodes == ("node0003", "node0004", "node0005")
    assert "node[0003-0005]" in found.title
    assert len(found.title) < 200


@pytest.mark.parametrize("count", [65, 200])
def test_beyond_64_nodes_not_every_node_is_asked_for_every_name(count: int) -> None:
    village = Village.of(count, 0.0)
    result = check_nodes(village.nodes, village.transports(), Question())
    asked = {fact.node: len(fact.value) for fact in result.facts if fact.name == "network.resolves"}
    assert len(asked) == count
    assert max(asked.values()) <= 16
    assert not [each for each in result.findings if each.code.startswith("network.names")]
