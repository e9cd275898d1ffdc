"""The second round of the check: what concerns pairs of nodes."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmctl.checks.addresses import choose_addresses, free_port, known, own_addresses, value_of
from llmctl.checks.facts import Fact
from llmctl.checks.ports import tried_ports
from llmctl.checks.probing import BUDGET, facts, request
from llmctl.checks.rows import Row
from llmctl.errors import LlmctlError
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe
from llmctl.workflows.asking import Ask, ask_all

NETWORK_SECONDS = 12.0
"""The listener's patience for each 64 nodes, which is how many are asked at once."""
ALL_NAMES = 64
"""Up to so many nodes every node is asked for every name; beyond, for its own, the first's and its neighbours'."""
NEIGHBOURS = 8
NOT_ASKED = "no time was left"
"""What the probe says of a command that it did not begin."""
LARGEST_MTU = 9216
"""A loopback's 65536 is no size that crosses a network."""


def ask_pairs(
    ask: Ask, nodes: Sequence[Node], found: Sequence[Fact], recipe: Recipe | None
) -> tuple[list[Fact], dict[str, LlmctlError]]:
    """Facts about names, ports and packets between the nodes, and the logins of the first node; and the nodes that
    were lost meanwhile. Every node connects to the first one and to the next in the list."""
    names = [node.name for node in nodes]
    values = known(found)
    addresses = choose_addresses(values, nodes)
    first = names[0]
    if recipe is not None and recipe.cluster.master_addr:
        addresses[first] = recipe.cluster.master_addr
    ports = {name: port for name in names if (port := free_port(values, name)) is not None}
    patience = NETWORK_SECONDS * (1 + len(names) // 64)
    callers = {name: _peers(names, place) for place, name in enumerate(names)}
    due = Counter(peer for peers in callers.values() for peer in peers)
    tried = {name: tried_ports(values, name, secrets.randbelow) for name in names}
    asks = {}
    for place, name in enumerate(names):
        rows = [*(_logins(nodes, recipe) if name == first else []), *_path_mtu(values, name, addresses, first)]
        network: dict[str, Any] = {"resolve": _asked_names(names, name)}
        if name in ports:
            network["listen"] = {"port": ports[name], "peers": due[name], "seconds": patience, "hold": tried[name]}
        network["connect"] = [
            {
                "peer": peer, "name": addresses.get(peer, peer), "port": ports[peer], "seconds": NETWORK_SECONDS - 1,
                "try": tried[peer] if peer == _next(names, place) else [],
            }
            for peer in callers[name]
            if peer in ports
        ]  # fmt: skip
        asks[name] = request(rows, activation=None, ports=[], budget=max(BUDGET, patience, len(rows) / 4), **network)
    told, lost = ask_all(ask, nodes, asks)
    facts_found = []
    for name, each in told.items():
        facts_found += [
            Fact(name="network.resolves", node=name, value=each["resolve"], source="getaddrinfo"),
            Fact(name="network.connect", node=name, value=_connected(each["connect"], told), source="connect"),
            Fact(name="network.ports", node=name, value=_reached(each["tried"], told), source="connect"),
            *facts(name, _path_mtu(values, name, addresses, first), each),
        ]
        if name == first and (logins := _logins(nodes, recipe)):
            answers = {
                fact.name.removeprefix("ssh "): fact.error
                for fact in facts(name, logins, each)
                if NOT_ASKED not in (fact.error or "")
            }
            facts_found.append(Fact(name="ssh.from_first", node=name, value=answers, source="ssh -o BatchMode=yes"))
    return facts_found, lost


def _next(names: Sequence[str], place: int) -> str:
    return names[(place + 1) % len(names)]


def _peers(names: Sequence[str], place: int) -> list[str]:
    """Whom a node connects to: the first node and the next one."""
    return list(dict.fromkeys(peer for peer in (names[0], _next(names, place)) if peer != names[place]))


def _connected(errors: Mapping[str, str | None], told: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """By peer: why it was not reached, None where it was; a listener without its port is a reason of its own."""

    def why(peer: str, error: str) -> str:
        listened = (told.get(peer, {}).get("listen") or {}).get("error")
        return f"another program took the port meanwhile: {listened}" if listened else error

    return {peer: why(peer, error) if error else None for peer, error in errors.items()}


def _reached(tried: Mapping[str, Mapping[str, str | None]], told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """By peer: what was tried of the ports that it held open, and what failed. A port that another program has there
    says nothing about the way to it."""
    found = {}
    for peer, ports in tried.items():
        held = (told.get(peer, {}).get("listen") or {}).get("held") or []
        mine = {port: error for port, error in ports.items() if int(port) in held}
        if mine:
            failed = {port: error for port, error in mine.items() if error}
            found[peer] = {"tried": [int(port) for port in mine], "failed": failed}
    return found


def _asked_names(names: Sequence[str], name: str) -> list[str]:
    if len(names) <= ALL_NAMES:
        return list(names)
    place = names.index(name)
    near = [names[(place + step) % len(names)] for step in range(NEIGHBOURS + 1)]
    return list(dict.fromkeys([names[0], *near]))


def _path_mtu(values: Any, name: str, addresses: dict[str, str], first: str) -> list[Row]:
    """A packet as large as the interface carries, to the first node; nothing is said where even a small one gets no
    answer."""
    sizes = {
        entry["mtu"]
        for entry in value_of(values, "network.addresses", name) or []
        if entry["address"] == addresses.get(name) and entry.get("mtu")
    }
    size = min(sizes, default=LARGEST_MTU + 1)
    if name == first or first not in addresses or size > LARGEST_MTU or not own_addresses(values, name):
        return []
    ping = f"ping -n -c1 -W2 -M do {sh_quote(addresses[first])}"
    large = f"{ping} -s {size - 28} >/dev/null 2>&1 || echo {size} bytes are lost on the way to {sh_quote(first)}"
    return [
        Row(
            name="network.path_mtu", mode="told", parse=str.strip,
            run=f"command -v ping >/dev/null && {ping} >/dev/null 2>&1 && {{ {large}; }}; true",
        )
    ]  # fmt: skip


def _logins(nodes: Sequence[Node], recipe: Recipe | None) -> list[Row]:
    """Asked for pdsh, which needs them, and where only some nodes were named; elsewhere nobody logs in from the
    first."""
    if recipe.launch.backend != "pdsh" if recipe else len(nodes) > ALL_NAMES:
        return []
    options = "-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=8"
    if recipe and recipe.cluster.user:
        options += f" -o User={sh_quote(recipe.cluster.user)}"
    if recipe and recipe.cluster.port:
        options += f" -p {recipe.cluster.port}"
    return [Row(name=f"ssh {node.name}", run=f"ssh {options} {sh_quote(node.name)} true", parse=str) for node in nodes]
