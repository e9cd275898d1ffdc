"""Ports: what the kernel tells, which are tried, what is said of those that are shut."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.checks.addresses import known
from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.ports import ephemeral, fold_ports, hccl_ports, judge_ports, judge_reserved, tried_ports
from llmctl.checks.rows import Wanted

RANGE = {"low": 32768, "high": 60999, "reserved": []}


@pytest.mark.parametrize(
    ("out", "reserved"),
    [
        ("32768\t60999\n\n", []),
        ("32768\t60999\n", []),
        ("32768 60999\n60000-60015\n", [[60000, 60015]]),
        ("32768\t60999\n29500,60000-60015\n", [[29500, 29500], [60000, 60015]]),
    ],
)
def test_what_the_kernel_tells(out: str, reserved: list[list[int]]) -> None:
    assert ephemeral(out) == {"low": 32768, "high": 60999, "reserved": reserved}


@pytest.mark.parametrize(
    "out", ["", "32768\n", "60999 32768\n", "0 70000\n", "1 2 3\n", "1024 2048\n60000-\n", "a b\n"]
)
def test_what_is_no_range_is_unknown(out: str) -> None:
    with pytest.raises(ValueError, match="not what"):
        ephemeral(out)


@given(st.sets(st.integers(1, 65535), min_size=1, max_size=60))
def test_folded_ports_are_the_same_ports(ports: set[int]) -> None:
    found: list[int] = []
    for part in fold_ports(list(ports)).split(","):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    assert found == sorted(ports)


@pytest.mark.parametrize(
    ("value", "environment", "said"),
    [
        (RANGE, {}, "60000-60015"),
        (RANGE | {"reserved": [[60000, 60015]]}, {}, None),
        (RANGE | {"reserved": [[60004, 60006]]}, {}, "60000-60003,60007-60015"),
        (RANGE | {"high": 60007}, {}, "60000-60007"),
        (RANGE | {"high": 59999}, {}, None),
        (RANGE, {"HCCL_IF_BASE_PORT": "61000"}, None),
        (RANGE, {"HCCL_IF_BASE_PORT": "60990"}, "60990-60999"),
        (RANGE, {"HCCL_IF_BASE_PORT": "often"}, "60000-60015"),
    ],
)
def test_ports_of_hccl_that_the_system_may_give_away(value: Any, environment: dict[str, str], said: str | None) -> None:
    told = judge_reserved(value, "a", Wanted(facts={"environment.effective": environment}))
    assert told is None if said is None else told is not None and f" {said} " in told[1]
    assert told is None or told[0] is Severity.WARNING


def fact(name: str, node: str, value: Any) -> Fact:
    return Fact(name=name, node=node, value=value)


def test_a_node_is_tried_at_the_ports_that_ranks_use() -> None:
    values = known([fact("network.port_range", "a", RANGE), fact("network.port", "a", 29501)])
    ports = tried_ports(values, "a", secrets.randbelow)
    assert {29500, 29510} <= set(ports)
    assert 29501 not in ports
    assert 29501 not in tried_ports(values, "on the same machine", secrets.randbelow)
    assert 1 <= len([port for port in ports if 32768 <= port <= 60999]) <= 3
    npu = known([fact("network.port_range", "a", RANGE), fact("hccl.reserved", "a", RANGE)])
    assert set(hccl_ports({})) <= set(tried_ports(npu, "a", lambda _: 0))
    assert tried_ports(known([]), "a", secrets.randbelow) == list(range(29500, 29511))


def judged(failed: dict[str, dict[int, str]], *, nodes: str = "ab") -> list[Finding]:
    """`failed`: the ports that each node cannot reach on the next one."""
    tried = [29500, 29501, 29502, 40000, 50000, 55555, *hccl_ports({})]
    facts = [fact("network.port_range", node, RANGE) for node in nodes]
    for place, node in enumerate(nodes):
        shut = {str(port): error for port, error in failed.get(node, {}).items()}
        peer = nodes[(place + 1) % len(nodes)]
        facts.append(fact("network.ports", node, {peer: {"tried": tried, "failed": shut}}))
    return judge_ports(known(facts), nodes)


def test_what_is_shut_is_folded_into_one_finding() -> None:
    assert judged({}) == []
    (one,) = judged({"a": dict.fromkeys(hccl_ports({}), "timed out")})
    assert one.code == "network.firewall.wrong"
    assert one.title == "ports cannot be reached from a to b: 60000-60015 (timed out)"
    assert (one.severity, one.nodes) == (Severity.WARNING, ("b",))
    assert "firewall" in one.remedy


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ([40000, 50000, 55555], "all 3 that were tried of the ephemeral ports 32768-60999"),
        (
            [29501, 29502, 40000, 50000, 55555],
            "29501-29502 and all 3 that were tried of the ephemeral ports 32768-60999",
        ),
        ([40000, 55555], "40000,55555"),
        ([29500, 60003], "29500,60003"),
    ],
)
def test_the_ephemeral_range_is_named_when_no_sample_gets_through(ports: list[int], said: str) -> None:
    (one,) = judged({"a": dict.fromkeys(ports, "Connection refused")})
    assert one.title == f"ports cannot be reached from a to b: {said} (Connection refused)"


def test_pairs_with_the_same_ports_shut_are_one_finding() -> None:
    shut = dict.fromkeys([40000, 50000, 55555], "timed out")
    (one,) = judged(dict.fromkeys("abcdefgh", shut), nodes="abcdefgh")
    assert one.title.startswith("ports cannot be reached from a to b, b to c, c to d, d to e and 4 more pairs: ")
    assert one.nodes == tuple("bcdefgha")
    assert len(judged({"a": shut, "b": {29500: "timed out"}}, nodes="abc")) == 2
