"""The second round of the check: what concerns pairs of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmctl.checks import parsers
from llmctl.checks.facts import Fact
from llmctl.checks.network import choose_addresses, free_port
from llmctl.checks.probing import facts, request
from llmctl.checks.rows import Row
from llmctl.errors import LlmctlError
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe
from llmctl.workflows.asking import Ask, ask_all

NETWORK_SECONDS = 8.0
"""The listener's patience for each 64 nodes, which is how many are asked at once."""


def ask_pairs(
    ask: Ask, nodes: Sequence[Node], found: Sequence[Fact], recipe: Recipe | None
) -> tuple[list[Fact], dict[str, LlmctlError]]:
    """Facts about names, the logins of the first node, and whether its port can be reached; and the nodes that were
    lost meanwhile."""
    names = [node.name for node in nodes]
    resolve = [Row(name=name, run=f"getent ahostsv4 {sh_quote(name)}", parse=parsers.resolved) for name in names]
    first, port = names[0], free_port(found, names[0])
    address = (recipe.cluster.master_addr if recipe else None) or choose_addresses(found, nodes).get(first, first)
    patience = NETWORK_SECONDS * (1 + len(names) // 64)
    asks = {}
    for name in names:
        rows = [*resolve, *(_logins(nodes, recipe) if name == first else [])]
        network: dict[str, Any] = {}
        if port is not None and name == first:
            network["listen"] = {"port": port, "peers": len(names) - 1, "seconds": patience}
        elif port is not None:
            network["connect"] = {"name": address, "port": port, "seconds": NETWORK_SECONDS - 1}
        asks[name] = request(rows, activation=None, ports=[], **network)
    told, lost = ask_all(ask, nodes, asks)
    facts_found = []
    for name, each in told.items():
        resolved = {fact.name: fact.value or [] for fact in facts(name, resolve, each)}
        facts_found.append(Fact(name="network.resolves", node=name, value=resolved, source="getent ahostsv4"))
        if "connect" in each:
            facts_found.append(
                Fact(name="network.connect", node=name, value=each["connect"], source=f"{address}:{port}")
            )
        if name == first:
            logins = {fact.name.removeprefix("ssh "): fact.error for fact in facts(name, _logins(nodes, recipe), each)}
            facts_found.append(Fact(name="ssh.from_first", node=name, value=logins, source="ssh -o BatchMode=yes"))
    return facts_found, lost


def _logins(nodes: Sequence[Node], recipe: Recipe | None) -> list[Row]:
    """Asked for pdsh, which needs them, and where only nodes were named; elsewhere nobody logs in from the first."""
    if recipe is not None and recipe.launch.backend != "pdsh":
        return []
    options = "-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=8"
    if recipe and recipe.cluster.user:
        options += f" -o User={sh_quote(recipe.cluster.user)}"
    if recipe and recipe.cluster.port:
        options += f" -p {recipe.cluster.port}"
    return [Row(name=f"ssh {node.name}", run=f"ssh {options} {sh_quote(node.name)} true", parse=str) for node in nodes]
