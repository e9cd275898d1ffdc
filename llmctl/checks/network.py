"""Between nodes: names, addresses, interfaces, the port of the rendezvous, clocks, logins of the first node. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.recipe.hosts import Node

BRIDGES = ("docker", "virbr", "veth", "cni", "flannel", "br-")
"""Interfaces that other nodes are not reached by."""


def value_of(facts: Sequence[Fact], name: str, node: str) -> Any:
    """A node's value; None when it is not known."""
    return next((fact.value for fact in facts if fact.name == name and fact.node == node), None)


def own_addresses(facts: Sequence[Fact], node: str) -> dict[str, str]:
    """A node's IPv4 addresses that others can use -> interface, in the node's order."""
    listed = value_of(facts, "network.addresses", node) or []
    return {
        entry["address"]: entry["interface"]
        for entry in listed
        if entry["up"] and not entry["address"].startswith("127.") and not entry["interface"].startswith(BRIDGES)
    }


def choose_addresses(facts: Sequence[Fact], nodes: Sequence[Node]) -> dict[str, str]:
    """The address by which the other nodes reach each node: what they resolve its name to, if it is its own; else
    the address that was configured; else its first own one. Nodes of which nothing is known are left out."""
    chosen = {}
    for node in nodes:
        own = own_addresses(facts, node.name)
        told = Counter(
            address
            for other in nodes
            for address in (value_of(facts, "network.resolves", other.name) or {}).get(node.name, [])[:1]
            if address in own
        )
        if told:
            chosen[node.name] = told.most_common(1)[0][0]
        elif node.address in own:
            chosen[node.name] = str(node.address)
        elif own:
            chosen[node.name] = next(iter(own))
    return chosen


def choose_interfaces(facts: Sequence[Fact], nodes: Sequence[Node]) -> dict[str, str | None]:
    """The interface that carries each node's chosen address; None where it is not known, or for a single node."""
    if len(nodes) < 2:
        return {node.name: None for node in nodes}
    addresses = choose_addresses(facts, nodes)
    return {node.name: own_addresses(facts, node.name).get(addresses.get(node.name, "")) for node in nodes}


def free_port(facts: Sequence[Fact], node: str) -> int | None:
    """A port that was free on the node."""
    port: int | None = value_of(facts, "network.port", node)
    return port


def judge_network(
    facts: Sequence[Fact], nodes: Sequence[Node], *, backend: str | None, interface: str | None = None
) -> list[Finding]:
    """Findings about pairs of nodes. `backend` None: only nodes were named; `interface`: the one that the recipe
    names."""
    names = [node.name for node in nodes]
    found = _hostnames(facts, names) + _clocks(facts, names) + _port(facts, names)
    if len(nodes) > 1:
        found += _named_interface(facts, names, interface) if interface else _interfaces(facts, nodes)
        found += _resolution(facts, names, backend) + _subnets(facts, nodes) + _rendezvous(facts, names)
        found += _logins(facts, names, backend)
    return found


def _hostnames(facts: Sequence[Fact], names: Sequence[str]) -> list[Finding]:
    told = {name: value_of(facts, "network.hostname", name) for name in names}
    twice = [host for host, count in Counter(h for h in told.values() if h).items() if count > 1]
    return [
        Finding(
            code="network.hostname.twice",
            severity=Severity.ERROR,
            title=f"{' and '.join(n for n, h in told.items() if h == host)} have the same host name {host}",
            nodes=tuple(n for n, h in told.items() if h == host),
            values=told,
            remedy="are they one machine? give each its own name: hostnamectl set-hostname NAME",
        )
        for host in twice
    ]


def _resolution(facts: Sequence[Fact], names: Sequence[str], backend: str | None) -> list[Finding]:
    wrong: dict[str, str] = {}
    for node in names:
        resolves: Mapping[str, list[str]] | None = value_of(facts, "network.resolves", node)
        if resolves is None:
            continue
        for peer in names:
            own = own_addresses(facts, peer)
            got = resolves.get(peer, [])
            if not got:
                wrong.setdefault(node, f"does not know {peer}")
            elif got[0].startswith("127."):
                wrong.setdefault(node, f"takes {peer} for {got[0]}, a loopback address")
            elif own and got[0] not in own:
                wrong.setdefault(node, f"takes {peer} for {got[0]}, which {peer} does not have")
    if not wrong:
        return []
    return [
        Finding(
            code="network.names.wrong",
            severity=Severity.ERROR if backend == "pdsh" else Severity.WARNING,
            title="; ".join(f"{node} {text}" for node, text in wrong.items()),
            nodes=tuple(wrong),
            values=dict(wrong),
            remedy=f"llmctl setup-nodes {' '.join(names)} writes the names into /etc/hosts",
        )
    ]


def _interfaces(facts: Sequence[Fact], nodes: Sequence[Node]) -> list[Finding]:
    missing = [name for name, interface in choose_interfaces(facts, nodes).items() if interface is None]
    known = [name for name in missing if value_of(facts, "network.addresses", name) is not None]
    if not known:
        return []
    return [
        Finding(
            code="network.interface.wrong",
            severity=Severity.ERROR,
            title=f"no interface of {', '.join(known)} carries an address that the other nodes can use",
            nodes=tuple(known),
            remedy="bring the interface up, or name the node with its address: node1=10.0.0.1",
        )
    ]


def _named_interface(facts: Sequence[Fact], names: Sequence[str], interface: str) -> list[Finding]:
    own = {name: list(own_addresses(facts, name).values()) for name in names}
    without = [name for name in names if own[name] and interface not in own[name]]
    if not without:
        return []
    return [
        Finding(
            code="network.interface.wrong",
            severity=Severity.ERROR,
            title=f"{', '.join(without)} has no interface {interface} that is up and has an address",
            nodes=tuple(without),
            values=dict(own),
            remedy="leave cluster.interface out, then each node's own is chosen, or bring that interface up",
        )
    ]


def _subnets(facts: Sequence[Fact], nodes: Sequence[Node]) -> list[Finding]:
    chosen = choose_addresses(facts, nodes)
    networks = {
        name: str(ip_network(f"{address}/{entry['prefix']}", strict=False))
        for name, address in chosen.items()
        for entry in value_of(facts, "network.addresses", name) or []
        if entry["address"] == address
    }
    if len(set(networks.values())) < 2:
        return []
    return [
        Finding(
            code="network.subnet.differs",
            severity=Severity.WARNING,
            title="the nodes are in different networks: " + ", ".join(f"{n} in {net}" for n, net in networks.items()),
            values=dict(networks),
            remedy="collectives want one network: name the nodes with their addresses in it, node1=10.0.0.1",
        )
    ]


def _port(facts: Sequence[Fact], names: Sequence[str]) -> list[Finding]:
    taken = any(f.name == "network.port" and f.node in names[:1] and f.value is None for f in facts)
    if not taken:
        return []
    return [
        Finding(
            code="network.port.taken",
            severity=Severity.ERROR,
            title=f"{names[0]}: the port of the rendezvous is in use",
            nodes=(names[0],),
            remedy="leave cluster.master_port out, then a free one is chosen, or end what listens: ss -ltnp",
        )
    ]


def _rendezvous(facts: Sequence[Fact], names: Sequence[str]) -> list[Finding]:
    failed = {
        name: told["error"]
        for name in names
        if (told := value_of(facts, "network.connect", name)) is not None and told["error"]
    }
    if not failed:
        return []
    port = free_port(facts, names[0])
    return [
        Finding(
            code="network.rendezvous.wrong",
            severity=Severity.ERROR,
            title=f"port {port} of {names[0]} cannot be reached: "
            + "; ".join(f"{name}: {error}" for name, error in failed.items()),
            nodes=tuple(failed),
            values=dict(failed),
            remedy="open the port between the nodes, or set cluster.master_port to one that is open",
        )
    ]


def _logins(facts: Sequence[Fact], names: Sequence[str], backend: str | None) -> list[Finding]:
    told: Mapping[str, str | None] = value_of(facts, "ssh.from_first", names[0]) or {}
    failed = {name: error for name, error in told.items() if error}
    if not failed:
        return []
    return [
        Finding(
            code="ssh.from_first.wrong",
            severity=Severity.ERROR if backend == "pdsh" else Severity.WARNING,
            title=f"{names[0]} cannot log in to " + "; ".join(f"{name}: {error}" for name, error in failed.items()),
            nodes=tuple(failed),
            values=dict(failed),
            remedy=f"llmctl setup-nodes {' '.join(names)}",
        )
    ]


def _clocks(facts: Sequence[Fact], names: Sequence[str]) -> list[Finding]:
    """Each fact is {offset, error} in seconds against this machine; two nodes differ for sure when more than the
    errors of both measurements lies between them."""
    told = {name: clock for name in names if (clock := value_of(facts, "clock.offset", name)) is not None}
    if len(told) < 2:
        return []
    early = min(told, key=lambda name: told[name]["offset"] + told[name]["error"])
    late = max(told, key=lambda name: told[name]["offset"] - told[name]["error"])
    apart = (told[late]["offset"] - told[late]["error"]) - (told[early]["offset"] + told[early]["error"])
    if apart <= 1:
        return []
    return [
        Finding(
            code="clock.differs",
            severity=Severity.ERROR if apart > 60 else Severity.WARNING,
            title=f"the clocks of {early} and {late} are at least {apart:.1f} s apart",
            nodes=(),
            values=dict(told),
            remedy="synchronise the clocks (chrony, ntp); times in logs cannot be compared",
        )
    ]
