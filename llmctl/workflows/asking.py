"""Carrying the probe to the nodes: over open connections, or by pdsh."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmctl.checks.probing import answer, program
from llmctl.errors import LlmctlError, NodeError
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.pdsh import run_pdsh
from llmctl.remote.transport import CommandResult, Transport
from llmctl.resources import onnode_file

PATIENCE = 90.0
"""Seconds for a whole round on one node."""
PYTHONS = "python3 /usr/bin/python3 /usr/libexec/platform-python python"


@dataclass(frozen=True)
class Answered:
    """What a node's Python printed, and between which two moments of this machine's clock."""

    result: CommandResult
    asked: float
    answered: float


Ask = Callable[[Mapping[str, str]], list[Outcome[str, Answered]]]
"""Programs by node -> each node's answer, in the order of the nodes."""


def ask_all(
    ask: Ask, nodes: Sequence[Node], asks: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Any]], dict[str, LlmctlError]]:
    """One round: the probe's answers by node, with `asked` and `answered`, and the nodes that gave none."""
    probe = onnode_file("probe.py").read_text(encoding="utf-8")
    told: dict[str, dict[str, Any]] = {}
    errors: dict[str, LlmctlError] = {}
    for outcome in ask({node.name: program(probe, asks[node.name]) for node in nodes}):
        if outcome.value is None:
            errors[outcome.item] = outcome.error or NodeError("no answer", where=outcome.item)
            continue
        each = outcome.value
        said = answer(each.result.stdout)
        if said is None:
            errors[outcome.item] = _no_answer(outcome.item, each.result)
        else:
            told[outcome.item] = {"asked": each.asked, "answered": each.answered} | said
    return told, errors


def _no_answer(node: str, result: CommandResult) -> NodeError:
    if "LLMCTL-NO-PYTHON" in result.stdout + result.stderr:
        return NodeError(
            "has no Python 3", where=node, why=f"looked for {PYTHONS}", hint="install python3 (3.6 or newer) there"
        )
    said = (result.stderr.strip().splitlines() or [f"exit code {result.code}"])[-1]
    return NodeError("the probe gave no answer", where=node, why=said)


def _runner() -> str:
    return (
        f"for p in {PYTHONS}; do if command -v $p >/dev/null 2>&1; then exec $p -; fi; done; "
        "echo LLMCTL-NO-PYTHON; exit 127"
    )


def by_transport(nodes: Sequence[Node], transports: Mapping[str, Transport]) -> Ask:
    """All nodes at once over their open connections."""

    def ask(programs: Mapping[str, str]) -> list[Outcome[str, Answered]]:
        def one(name: str) -> Answered:
            asked = time.time()
            result = transports[name].run(_runner(), stdin=programs[name].encode(), timeout=PATIENCE)
            return Answered(result, asked, time.time())

        return fan_out([node.name for node in nodes if node.name in programs], one)

    return ask


def by_pdsh(nodes: Sequence[Node], recipe: Recipe | None) -> Ask:
    """All nodes by pdsh; those with a program of their own one after the other."""

    def ask(programs: Mapping[str, str]) -> list[Outcome[str, Answered]]:
        groups: dict[str, list[Node]] = {}
        for node in nodes:
            if node.name in programs:
                groups.setdefault(programs[node.name], []).append(node)
        done: dict[str, Outcome[str, Answered]] = {}

        def one(item: tuple[str, list[Node]]) -> None:
            text, some = item
            script = f"({_runner()}) <<'LLMCTL_PROGRAM'\n{text}\nLLMCTL_PROGRAM\n"
            login = recipe.cluster if recipe else None
            user, port = (login.user, login.port) if login else (None, None)
            asked = time.time()
            outcomes = run_pdsh(some, script, timeout=PATIENCE, user=user, port=port)
            for outcome in outcomes:
                each = Answered(outcome.value, asked, time.time()) if outcome.value else None
                done[outcome.item.name] = Outcome(outcome.item.name, each, outcome.error)

        fan_out(list(groups.items()), one)
        return [done[node.name] for node in nodes if node.name in done]

    return ask
