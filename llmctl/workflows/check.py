"""Read all nodes, judge what was read: one round trip about each node, one more about pairs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmctl.checks.addresses import known
from llmctl.checks.coverage import Coverage, coverage
from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.judge import UnknownPin, expectation
from llmctl.checks.probing import Parsed, facts, request
from llmctl.checks.question import ACTIVATION, ALWAYS, KINDS, Question, findings
from llmctl.errors import LlmctlError, NodeError, UsageError
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.recipe.load import find_recipe
from llmctl.recipe.schema import Recipe
from llmctl.remote.connect import connect_all
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import Transport
from llmctl.render.files import entering, shell_of
from llmctl.run.redact import Redactor
from llmctl.workflows.asking import Ask, ask_all, by_pdsh, by_transport
from llmctl.workflows.collective import ask_collective
from llmctl.workflows.facts_file import load_baseline, load_saved
from llmctl.workflows.live import open_all, reached_here
from llmctl.workflows.manifest import login_of
from llmctl.workflows.pairs import ask_pairs
from llmctl.workflows.question import question_of, told_variables
from llmctl.workflows.render import Draft, draft
from llmctl.workflows.slurm_gate import allocated

SECOND_ROUND = ("network.resolves", "network.connect", "network.ports", "network.path_mtu", "ssh.from_first")
"""Facts about pairs of nodes."""

Watch = Callable[[str, str], None]
"""(node, what is being done with it) -> nothing."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What was read and what follows."""

    question: Question
    nodes: tuple[Node, ...]
    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...]
    errors: dict[str, LlmctlError] = field(default_factory=dict)
    """Nodes that could not be read."""
    interrupted: bool = False
    """Ctrl-C came first: not all was asked."""
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def blocked(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)


def _assert_no_secret_in_argv(recipe: Recipe) -> None:
    """pdsh carries the activation as an argument, which every account of every machine can read."""
    if Redactor().text("\n".join(recipe.cluster.activate)).masked:
        raise UsageError(
            "pdsh cannot carry a secret",
            where="cluster.activate",
            why="its lines would stand in the process lists of all machines",
            hint="leave --via pdsh out, or put the secret into a file that a line reads",
        )


def check_nodes(
    nodes: Sequence[Node],
    transports: Mapping[str, Transport],
    question: Question,
    *,
    recipe: Recipe | None = None,
    baseline: Sequence[Fact] = (),
    via_pdsh: bool = False,
    watch: Watch = lambda _node, _state: None,
) -> CheckResult:
    """Check the nodes that `transports` reach. `recipe` gives the environment and the logins. Raises UsageError for a
    pin in `cluster.expect` that names no fact. Ctrl-C ends the reading; what was read until then is judged."""
    if via_pdsh and recipe is not None:
        _assert_no_secret_in_argv(recipe)
    ask = by_pdsh(nodes, recipe) if via_pdsh else by_transport(nodes, transports)
    found: list[Fact] = []
    told: dict[str, dict[str, Any]] = {}
    errors: dict[str, LlmctlError] = {}
    interrupted = False
    try:
        _ask_each(ask, nodes, question, recipe, told, errors, watch)
    except KeyboardInterrupt:
        interrupted = True
    told = {node.name: told[node.name] for node in nodes if node.name in told}
    found += _first_facts(question, told)
    reached = [node for node in nodes if node.name in told]
    if len(reached) > 1 and not interrupted and _asks_pairs(question):
        try:
            pairs, lost = ask_pairs(ask, reached, found, recipe)
            found += [fact for fact in pairs if question.reads(fact.name)]
            errors |= lost
        except KeyboardInterrupt:
            interrupted = True
    for node in nodes:
        if interrupted and node.name not in told:
            errors.setdefault(node.name, NodeError("was not read: interrupted", where=node.name))
    read = CheckResult(
        question=question, nodes=tuple(nodes), facts=tuple(found), findings=(), errors=errors, interrupted=interrupted
    )
    return _judged(read, baseline)


def check_words(
    words: Sequence[str],
    *,
    sets: Sequence[str] = (),
    device: str | None = None,
    baseline: Path | None = None,
    via_pdsh: bool = False,
    deep: bool = False,
    only: Sequence[str] = (),
    collective: bool = False,
    watch: Watch = lambda _node, _state: None,
) -> CheckResult:
    """`llmctl check`: one recipe, nodes, or a file of saved facts. Nodes that cannot be reached are told in `errors`;
    the others are checked all the same."""
    against = load_baseline(baseline) if baseline else ()
    if sets and not _is_recipe(words):
        raise UsageError("--set changes a key of a recipe, and none is given", hint="llmctl check RECIPE --set A.B=C")
    if len(words) == 1 and words[0].endswith(".json"):
        return _again(Path(words[0]), only, against)
    recipe = planned = None
    if _is_recipe(words):
        planned = draft(words[0], sets=sets)
        recipe, nodes, question = planned.loaded.recipe, planned.nodes, question_of(planned)
    else:
        nodes = parse_nodes(words)
        question = Question(count=len(nodes))
    question = replace(question, device=device or question.device, deep=deep, only=tuple(only))
    _assert_some(question)
    if collective and (planned is None or via_pdsh):
        raise UsageError("--collective starts the ranks of a recipe over SSH", hint="llmctl check RECIPE --collective")
    if collective and recipe is not None and recipe.cluster.container:
        raise UsageError("--collective starts ranks on the nodes themselves", why="the recipe's run in a container")
    if planned is not None and recipe is not None and recipe.launch.backend == "slurm" and not via_pdsh:
        if collective:
            raise UsageError("--collective starts ranks over SSH", why="those of the recipe are started by Slurm")
        return _by_slurm(planned, question, against, watch)
    transports: dict[str, Transport] = {}
    errors: dict[str, LlmctlError] = {}
    if recipe is not None and recipe.launch.backend == "local":
        transports = {node.name: LocalTransport(node) for node in nodes}
    elif not via_pdsh:
        for node in nodes:
            watch(node.name, "connecting")
        login = recipe.cluster if recipe else None
        try:
            outcomes = connect_all(nodes, user=login.user if login else None, port=login.port if login else None)
        except KeyboardInterrupt:
            return _given_up(question, nodes)
        for outcome in outcomes:
            if outcome.value is not None:
                transports[outcome.item.name] = outcome.value
            elif outcome.error is not None:
                errors[outcome.item.name] = outcome.error
                watch(outcome.item.name, outcome.error.what)
    reached = [node for node in nodes if via_pdsh or node.name in transports]
    try:
        checked = check_nodes(
            reached, transports, question, recipe=recipe, baseline=against, via_pdsh=via_pdsh, watch=watch
        )
        if collective and planned is not None:
            checked = _with_collective(planned, transports, checked, against, watch)
    finally:
        for transport in transports.values():
            transport.close()
    return replace(checked, nodes=tuple(nodes), errors=errors | checked.errors)


def _by_slurm(planned: Draft, question: Question, baseline: Sequence[Fact], watch: Watch) -> CheckResult:
    """The nodes of a recipe for Slurm, as steps of a short allocation. Raises NodeError where Slurm does not give
    them now."""
    recipe = planned.loaded.recipe
    login = login_of(recipe)
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        for node in planned.nodes:
            watch(node.name, text)

    tell("asking Slurm for an allocation")
    transports = open_all(planned.nodes, login, local=reached_here("slurm", login))
    try:
        with allocated(planned, transports, tell) as steps:
            if not steps:
                raise NodeError(
                    "Slurm does not give the nodes now", where="launch.slurm", why=said[-1],
                    hint="squeue shows who has them; where ssh leads to them: llmctl check NODES",
                )  # fmt: skip
            return check_nodes(planned.nodes, steps, question, recipe=recipe, baseline=baseline, watch=watch)
    finally:
        for transport in transports.values():
            transport.close()


def _again(path: Path, only: Sequence[str], baseline: Sequence[Fact]) -> CheckResult:
    """Saved facts, judged once more: what was not read then is not known now."""
    saved = load_saved(path)
    question = replace(saved.question, only=tuple(only))
    facts_kept = tuple(fact for fact in saved.facts if question.reads(fact.name) or fact.name in ALWAYS)
    read = CheckResult(
        question=question, nodes=saved.nodes, facts=facts_kept, findings=(), errors=dict(saved.errors),
        interrupted=saved.interrupted,
    )  # fmt: skip
    return _judged(read, baseline)


def _given_up(question: Question, nodes: Sequence[Node]) -> CheckResult:
    """Ctrl-C came before all nodes were reached, and none was asked."""
    errors: dict[str, LlmctlError] = {
        node.name: NodeError("was not read: interrupted while connecting", where=node.name) for node in nodes
    }
    return CheckResult(question=question, nodes=tuple(nodes), facts=(), findings=(), errors=errors, interrupted=True)


def _with_collective(
    planned: Draft, transports: Mapping[str, Transport], checked: CheckResult, baseline: Sequence[Fact], watch: Watch
) -> CheckResult:
    """Let the ranks meet, unless a node is away: then they would only wait for it."""
    away = [node.name for node in planned.nodes if node.name not in transports or node.name in checked.errors]
    if away or checked.interrupted:
        return checked
    try:
        told = ask_collective(planned, transports, known(checked.facts), watch)
    except KeyboardInterrupt:
        return replace(checked, interrupted=True)
    return _judged(replace(checked, facts=(*checked.facts, *told)), baseline)


def _ask_each(
    ask: Ask,
    nodes: Sequence[Node],
    question: Question,
    recipe: Recipe | None,
    told: dict[str, dict[str, Any]],
    errors: dict[str, LlmctlError],
    watch: Watch,
) -> None:
    """The first round; answers and errors are put into `told` and `errors` as they come."""
    rows = [row for group in question.rows.values() for row in group]
    asked = request(
        rows,
        activation=entering(recipe, told_variables(recipe)) if recipe and not recipe.cluster.container else None,
        shell=shell_of(recipe) if recipe else "bash",
        ports=_ports(recipe),
    )
    for node in nodes:
        watch(node.name, "reading")
    each = dict.fromkeys((node.name for node in nodes), asked)
    ask_all(ask, nodes, each, told=told, lost=errors, watch=watch)


def _first_facts(question: Question, told: Mapping[str, Mapping[str, Any]]) -> list[Fact]:
    kinds = [fact for name, each in told.items() for fact in facts(name, [KINDS], each)]
    found = []
    parsed: Parsed = {}
    for name, rows in question.applying(kinds).items():
        each = told[name]
        found += facts(name, rows, each, parsed)
        if question.engine:
            failed = each["activation_error"] and Redactor().text(each["activation_error"]).text
            found.append(Fact(name=ACTIVATION, node=name, value=None if failed else "done", error=failed))
        found.append(Fact(name="network.port", node=name, value=each["port"], source="bind"))
        middle, remote = (each["asked"] + each["answered"]) / 2, (each["begun"] + each["ended"]) / 2
        slack = max(0.0, ((each["answered"] - each["asked"]) - (each["ended"] - each["begun"])) / 2)
        clock = {"offset": remote - middle, "error": slack}
        found.append(Fact(name="clock.offset", node=name, value=clock, source="time"))
    return [fact for fact in found if question.reads(fact.name) or fact.name in ALWAYS]


def _judged(read: CheckResult, baseline: Sequence[Fact]) -> CheckResult:
    """With the findings, and how much they stand on."""
    question = read.question
    try:
        found = findings(question, read.nodes, read.facts, baseline)
        expected = expectation(question.expect, baseline, question.names())
    except UnknownPin as error:
        raise UsageError(
            f"no fact has the name {error}",
            where="cluster.expect",
            hint="use cann, driver, python, a package's name, or a name of `llmctl check NODES --facts`",
        ) from None
    return replace(read, findings=tuple(found), coverage=coverage(question, read.facts, expected))


def _asks_pairs(question: Question) -> bool:
    return any(question.reads(name) for name in SECOND_ROUND)


def _assert_some(question: Question) -> None:
    """Raises UsageError for a --only that names nothing."""
    names = [row.name for group in question.rows.values() for row in group if row is not KINDS]
    if not names and not any(question.reads(name) for name in (*SECOND_ROUND, "network.port", "clock.offset")):
        every = replace(question, device=None).rows
        others = [kind for kind, rows in every.items() if kind and any(question.asks(row.name) for row in rows)]
        of = f" that is read with device {question.device}" if others else ""
        raise UsageError(
            f"no fact{of} is named {', '.join(question.only)}",
            where="--only",
            why=f"there is one with {', '.join(others)}" if others else "",
            hint="give a name of docs/findings.md or its beginning: driver, python, disk.tmp",
        )


def _is_recipe(words: Sequence[str]) -> bool:
    if len(words) != 1:
        return False
    if words[0].endswith((".yaml", ".yml")) or Path(words[0]).is_file():
        return True
    try:
        find_recipe(words[0])
    except UsageError:
        return False
    return True


def _ports(recipe: Recipe | None) -> list[int]:
    """Ports to try for the rendezvous: the recipe's own alone, else some at random from torch's 29500 on, so that two
    runs that start at the same time do not meet."""
    if recipe is not None and recipe.cluster.master_port:
        return [recipe.cluster.master_port]
    return [29500 + secrets.randbelow(500) for _ in range(20)]
