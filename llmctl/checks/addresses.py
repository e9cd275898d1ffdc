"""The addresses and interfaces by which nodes reach each other, chosen from what they told. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmctl.checks.facts import Fact
from llmctl.recipe.hosts import Node

BRIDGES = ("docker", "virbr", "veth", "cni", "flannel", "br-", "lxc", "podman", "cali", "cilium", "tun")
"""Interfaces that other nodes are not reached by."""

Values = Mapping[str, Mapping[str, Any]]
"""Fact name -> node -> value, of what is known."""


def known(facts: Sequence[Fact]) -> Values:
    """The values of facts by name and node; a fact that is not known is left out."""
    found: dict[str, dict[str, Any]] = {}
    for fact in facts:
        if fact.error is None:
            found.setdefault(fact.name, {})[fact.node] = fact.value
    return found


def value_of(values: Values, name: str, node: str) -> Any:
    """A node's value; None when it is not known."""
    return values.get(name, {}).get(node)


def own_addresses(values: Values, node: str) -> dict[str, str]:
    """A node's IPv4 addresses that others can use -> interface, in the node's order."""
    return {
        entry["address"]: entry["interface"]
        for entry in value_of(values, "network.addresses", node) or []
        if entry["up"] and entry["interface"] != "lo" and not entry["interface"].startswith(BRIDGES)
    }


def choose_addresses(values: Values, nodes: Sequence[Node]) -> dict[str, str]:
    """The address by which the other nodes reach each node: what they resolve its name to, if it is its own; else
    the address that was configured; else its first own one. Nodes of which nothing is known are left out."""
    told: dict[str, Counter[str]] = {}
    for resolved in values.get("network.resolves", {}).values():
        for name, addresses in resolved.items():
            told.setdefault(name, Counter()).update(addresses[:1])
    chosen = {}
    for node in nodes:
        own = own_addresses(values, node.name)
        voted = [address for address, _ in told.get(node.name, Counter()).most_common() if address in own]
        if voted:
            chosen[node.name] = voted[0]
        elif node.address in own:
            chosen[node.name] = str(node.address)
        elif own:
            chosen[node.name] = next(iter(own))
    return chosen


def choose_interfaces(values: Values, nodes: Sequence[Node]) -> dict[str, str | None]:
    """The interface that carries each node's chosen address; None where it is not known, or for a single node."""
    if len(nodes) < 2:
        return {node.name: None for node in nodes}
    addresses = choose_addresses(values, nodes)
    return {node.name: own_addresses(values, node.name).get(addresses.get(node.name, "")) for node in nodes}


def free_port(values: Values, node: str) -> int | None:
    """A port that was free on the node."""
    port: int | None = value_of(values, "network.port", node)
    return port
