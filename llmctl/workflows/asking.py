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
from llmctl.resources import onnode_text

PATIENCE = 15.0
"""Seconds for a whole round on one node, beyond what its commands may take."""
PYTHONS = "python3 /usr/bin/python3 /usr/libexec/platform-python python"


@dataclass(frozen=True)
class Answered:
    """What a node's Python printed, and between which two moments of this machine's clock."""

    result: CommandResult
    asked: float
    answered: float


Done = Callable[[Outcome[str, Answered]], None]
Ask = Callable[[Mapping[str, str], Done, float], None]
"""(programs by node, what gets each node's answer as it comes, the seconds for each) -> nothing."""


def ask_all(
    ask: Ask,
    nodes: Sequence[Node],
    asks: Mapping[str, Mapping[str, Any]],
    *,
    told: dict[str, dict[str, Any]] | None = None,
    lost: dict[str, LlmctlError] | None = None,
    watch: Callable[[str, str], None] = lambda _node, _state: None,
) -> tuple[dict[str, dict[str, Any]], dict[str, LlmctlError]]:
    """One round: the probe's answers by node in their order, with `asked` and `answered`, and the nodes that gave
    none. `told` and `lost`, when they are given, are filled as
    the answers come."""
    probe = onnode_text("probe.py")
    answers = told if told is not None else {}
    errors = lost if lost is not None else {}

    def done(outcome: Outcome[str, Answered]) -> None:
        name, each = outcome.item, outcome.value
        said = answer(each.result.stdout) if each else None
        if each is not None and said is not None:
            answers[name] = {"asked": each.asked, "answered": each.answered} | said
            watch(name, "read")
            return
        errors[name] = _no_answer(name, each.result) if each else outcome.error or NodeError("no answer", where=name)
        watch(name, errors[name].what)

    programs: dict[str, str] = {}
    written: dict[int, str] = {}
    for node in nodes:
        asked = asks[node.name]
        programs[node.name] = written.setdefault(id(asked), "") or program(probe, asked)
        written[id(asked)] = programs[node.name]
    ask(programs, done, PATIENCE + max((asked["budget"] for asked in asks.values()), default=0.0))
    order = [node.name for node in nodes]
    return {n: answers[n] for n in order if n in answers}, {n: errors[n] for n in order if n in errors}


def _no_answer(node: str, result: CommandResult) -> NodeError:
    if "LLMCTL-NO-PYTHON" in result.stdout + result.stderr:
        return NodeError(
            "has no Python 3", where=node, why=f"looked for {PYTHONS}", hint="install python3 (3.6 or newer) there"
        )
    said = (result.stderr.strip().splitlines() or [f"exit code {result.code}"])[-1]
    return NodeError("the probe gave no answer", where=node, why=said)


def _runner() -> str:
    return (
        f"for p in {PYTHONS}; do command -v $p >/dev/null 2>&1 || continue; "
        "[ $p != python ] || python -c 'import sys; sys.exit(sys.version_info < (3, 6))' </dev/null || continue; "
        "exec $p -; done; "
        "echo LLMCTL-NO-PYTHON; exit 127"
    )


def by_transport(nodes: Sequence[Node], transports: Mapping[str, Transport]) -> Ask:
    """All nodes at once over their open connections."""

    def ask(programs: Mapping[str, str], done: Done, patience: float) -> None:
        def one(name: str) -> Answered:
            asked = time.time()
            result = transports[name].run(_runner(), stdin=programs[name].encode(), timeout=patience)
            return Answered(result, asked, time.time())

        fan_out([node.name for node in nodes if node.name in programs], one, done=done)

    return ask


def by_pdsh(nodes: Sequence[Node], recipe: Recipe | None) -> Ask:
    """All nodes by pdsh, one pdsh for each program."""

    def ask(programs: Mapping[str, str], done: Done, patience: float) -> None:
        groups: dict[str, list[Node]] = {}
        for node in nodes:
            if node.name in programs:
                groups.setdefault(programs[node.name], []).append(node)

        def one(item: tuple[str, list[Node]]) -> list[Outcome[str, Answered]]:
            text, some = item
            script = f"({_runner()}) <<'LLMCTL_PROGRAM'\n{text}\nLLMCTL_PROGRAM\n"
            login = recipe.cluster if recipe else None
            user, port = (login.user, login.port) if login else (None, None)
            asked = time.time()
            return [
                Outcome(
                    outcome.item.name,
                    Answered(outcome.value, asked, time.time()) if outcome.value else None,
                    outcome.error,
                )
                for outcome in run_pdsh(some, script, timeout=patience, user=user, port=port)
            ]

        def tell(outcome: Outcome[tuple[str, list[Node]], list[Outcome[str, Answered]]]) -> None:
            if outcome.error is not None:
                raise outcome.error
            for each in outcome.value or []:
                done(each)

        fan_out(list(groups.items()), one, done=tell)

    return ask
