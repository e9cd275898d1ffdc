"""Pairs of nodes: names, addresses, interfaces, ports, clocks, logins."""

from __future__ import annotations

from typing import Any

import pytest

from llmctl.checks.addresses import choose_addresses, choose_interfaces, free_port, known
from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.network import judge_network
from llmctl.recipe.hosts import Node

ONE, TWO = Node(name="node1"), Node(name="node2")
NODES = (ONE, TWO)


def fact(name: str, node: str, value: Any) -> Fact:
    return Fact(name=name, node=node, value=value)


def addresses(node: str, *entries: tuple[str, str], up: bool = True, prefix: int = 24, mtu: int = 1500) -> Fact:
    listed = [{"interface": i, "address": a, "prefix": prefix, "up": up, "mtu": mtu} for i, a in entries]
    return fact("network.addresses", node, listed)


def two(**names: dict[str, list[str]]) -> list[Fact]:
    """Two nodes with docker and loopback besides; `names`: what each node resolves."""
    both = {"node1": ["10.0.0.1"], "node2": ["10.0.0.2"]}
    return [
        addresses("node1", ("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eth0", "10.0.0.1"), ("ib0", "10.9.0.1")),
        addresses("node2", ("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eno1", "10.0.0.2"), ("ib0", "10.9.0.2")),
        fact("network.resolves", "node1", names.get("node1", both)),
        fact("network.resolves", "node2", names.get("node2", both)),
        fact("network.hostname", "node1", "node1"),
        fact("network.hostname", "node2", "node2"),
        fact("network.port", "node1", 29500),
    ]


def codes(facts: list[Fact], *, backend: str | None = "ssh", interface: str | None = None) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in judged(facts, backend=backend, interface=interface)}


def judged(facts: list[Fact], *, backend: str | None = "ssh", interface: str | None = None) -> list[Finding]:
    """Later facts replace earlier ones."""
    return judge_network(known(facts), NODES, backend=backend, interface=interface)


def test_nodes_that_agree_give_no_finding() -> None:
    assert codes(two()) == {}


def test_each_node_has_its_own_interface() -> None:
    assert choose_addresses(known(two()), NODES) == {"node1": "10.0.0.1", "node2": "10.0.0.2"}
    assert choose_interfaces(known(two()), NODES) == {"node1": "eth0", "node2": "eno1"}
    assert free_port(known(two()), "node1") == 29500
    assert free_port(known(two()), "node2") is None


def test_what_the_names_resolve_to_decides_between_several_networks() -> None:
    fast = {"node1": ["10.9.0.1"], "node2": ["10.9.0.2"]}
    assert choose_interfaces(known(two(node1=fast, node2=fast)), NODES) == {"node1": "ib0", "node2": "ib0"}


def test_without_names_the_configured_address_counts_and_then_the_first_own_one() -> None:
    none: dict[str, list[str]] = {"node1": [], "node2": []}
    facts = two(node1=none, node2=none)
    chosen = choose_interfaces(known(facts), (Node(name="node1", address="10.9.0.1"), TWO))
    assert chosen == {"node1": "ib0", "node2": "eno1"}


def test_one_node_needs_no_interface_and_an_unread_one_has_none() -> None:
    assert choose_interfaces(known(two()), (ONE,)) == {"node1": None}
    assert choose_interfaces(known([]), NODES) == {"node1": None, "node2": None}
    assert choose_addresses(known([]), NODES) == {}


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (["127.0.1.1"], "a loopback address"),
        ([], "does not know node2"),
        (["10.66.0.1"], "which node2 does not have"),
    ],
)
def test_wrong_names_are_told_and_block_pdsh(got: list[str], words: str) -> None:
    facts = two(node1={"node1": ["10.0.0.1"], "node2": got})
    (finding,) = judged(facts)
    assert finding.code == "network.names.wrong"
    assert finding.severity is Severity.WARNING
    assert words in finding.title
    assert codes(facts, backend="pdsh") == {"network.names.wrong": Severity.ERROR}


def test_a_node_whose_interfaces_are_down_blocks() -> None:
    facts = [*two(), addresses("node2", ("eth0", "10.0.0.2"), up=False)]
    assert codes(facts)["network.interface.wrong"] is Severity.ERROR


def test_the_interface_of_the_recipe_must_be_on_every_node() -> None:
    (finding,) = judged(two(), interface="eth0")
    assert (finding.code, finding.nodes) == ("network.interface.wrong", ("node2",))
    assert codes(two(), interface="ib0") == {}


def test_different_networks_are_told() -> None:
    there = {"node1": ["10.0.0.1"], "node2": ["10.9.0.2"]}
    assert codes(two(node1=there, node2=there)) == {"network.subnet.differs": Severity.WARNING}


def test_one_machine_under_two_names() -> None:
    facts = [*two(), fact("network.hostname", "node2", "node1")]
    assert codes(facts) == {"network.hostname.twice": Severity.ERROR}


def test_a_port_that_cannot_be_reached_blocks() -> None:
    facts = [*two(), fact("network.connect", "node2", {"node1": "timed out"})]
    (finding,) = judged(facts)
    assert finding.severity is Severity.ERROR
    assert "port 29500 of node1 cannot be reached: node2: timed out" in finding.title


def test_a_port_in_use_on_the_first_node_blocks() -> None:
    facts = [*two(), fact("network.port", "node1", None)]
    assert codes(facts) == {"network.port.taken": Severity.ERROR}
    assert codes([*two(), fact("network.port", "node2", None)]) == {}


def test_a_node_that_was_not_asked_for_names_is_not_accused() -> None:
    facts = [each for each in two() if (each.name, each.node) != ("network.resolves", "node2")]
    assert codes(facts) == {}


def test_logins_of_the_first_node_block_pdsh_alone() -> None:
    facts = [*two(), fact("ssh.from_first", "node1", {"node1": None, "node2": "Permission denied (publickey)."})]
    assert codes(facts, backend=None) == {"ssh.from_first.wrong": Severity.WARNING}
    assert codes(facts, backend="pdsh") == {"ssh.from_first.wrong": Severity.ERROR}


@pytest.mark.parametrize(
    ("offset", "error", "severity"),
    [(0.9, 0.0, None), (2.0, 0.1, Severity.WARNING), (61.5, 0.1, Severity.ERROR), (-61.5, 0.1, Severity.ERROR)],
)
def test_clocks(offset: float, error: float, severity: Severity | None) -> None:
    facts = [
        *two(),
        fact("clock.offset", "node1", {"offset": 0.0, "error": error}),
        fact("clock.offset", "node2", {"offset": offset, "error": error}),
    ]
    assert codes(facts) == ({"clock.differs": severity} if severity else {})


def test_a_slow_line_is_not_taken_for_a_wrong_clock() -> None:
    facts = [
        *two(),
        fact("clock.offset", "node1", {"offset": 0.0, "error": 0.05}),
        fact("clock.offset", "node2", {"offset": 4.0, "error": 3.2}),
    ]
    assert codes(facts) == {}


def test_a_port_between_other_nodes_is_told() -> None:
    facts = [*two(), fact("network.connect", "node1", {"node2": "timed out"})]
    (finding,) = judged(facts)
    assert (finding.code, finding.severity) == ("network.firewall.wrong", Severity.WARNING)
    assert "node1 to node2: timed out" in finding.title


def test_a_host_name_on_loopback_blocks() -> None:
    facts = [*two(), fact("network.own_name", "node2", ["127.0.1.1"])]
    (finding,) = judged(facts)
    assert (finding.code, finding.severity, finding.nodes) == ("network.own_name.wrong", Severity.ERROR, ("node2",))
    assert "node2 is 127.0.1.1" in finding.title


def test_packets_of_different_sizes_and_lost_ones_are_told() -> None:
    facts = [*two(), addresses("node2", ("eno1", "10.0.0.2"), mtu=9000)]
    assert codes(facts) == {"network.mtu.differs": Severity.WARNING}
    facts = [*two(), fact("network.path_mtu", "node2", "1500 bytes are lost on the way to node1")]
    assert codes(facts) == {"network.mtu.wrong": Severity.WARNING}
    assert codes([*two(), fact("network.path_mtu", "node2", "")]) == {}


def test_a_shared_folder_is_a_remark_and_a_half_shared_one_a_warning() -> None:
    def place(node: str, mark: str) -> Fact:
        return fact("disk.place", node, {"type": "nfs", "mark": mark})

    three = (*NODES, Node(name="node3"))
    facts = [place("node1", "7 1.5"), place("node2", "7 1.5")]
    assert codes([*two(), *facts]) == {"disk.shared.told": Severity.INFO}
    found = judge_network(known([*facts, place("node3", "8 1.5")]), three, backend="ssh")
    assert [(f.code, f.severity) for f in found] == [("disk.shared.told", Severity.WARNING)]
    assert codes([*two(), place("node1", "7 1.5"), place("node2", "8 1.5")]) == {}
    local = [fact("disk.place", name, {"type": "tmpfs", "mark": "1 1.5"}) for name in ("node1", "node2")]
    assert codes([*two(), *local]) == {}


def test_one_kernel_under_two_nodes_is_a_remark() -> None:
    facts = [*two(), fact("os.boot", "node1", "b"), fact("os.boot", "node2", "b")]
    assert codes(facts) == {"os.boot.twice": Severity.INFO}


def test_of_three_clocks_the_odd_one_is_named() -> None:
    three = (*NODES, Node(name="node3"))
    facts = [
        fact("clock.offset", name, {"offset": offset, "error": 0.01})
        for name, offset in (("node1", 0.0), ("node2", 3600.0), ("node3", 0.1))
    ]
    (finding,) = judge_network(known(facts), three, backend="ssh")
    assert (finding.code, finding.nodes) == ("clock.differs", ("node2",))
