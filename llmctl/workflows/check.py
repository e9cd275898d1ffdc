"""Read all nodes, judge what was read: one round trip about each node, one more about pairs."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.judge import expectation, judge
from llmctl.checks.network import judge_network
from llmctl.checks.paths import path_rows
from llmctl.checks.probing import facts, request
from llmctl.checks.python_env import python_rows
from llmctl.checks.rows import Row, Wanted, host_rows
from llmctl.checks.vendors import PRESENT, VENDORS
from llmctl.errors import LlmctlError, UsageError
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.recipe.load import find_recipe
from llmctl.recipe.schema import Recipe
from llmctl.remote.connect import connect_all
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import Transport
from llmctl.render.files import activation
from llmctl.run.folder import write_json
from llmctl.run.plan import NodePaths
from llmctl.workflows.asking import ask_all, by_pdsh, by_transport
from llmctl.workflows.pairs import ask_pairs
from llmctl.workflows.render import draft

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What was read and what follows."""

    nodes: tuple[str, ...]
    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...]
    errors: dict[str, LlmctlError] = field(default_factory=dict)
    """Nodes that could not be read."""

    @property
    def blocked(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)


def check_nodes(
    nodes: Sequence[Node],
    transports: Mapping[str, Transport],
    *,
    recipe: Recipe | None = None,
    paths: NodePaths | None = None,
    staged: Mapping[str, int] | None = None,
    python: str = "python3",
    device: str | None = None,
    baseline: Sequence[Fact] = (),
    via_pdsh: bool = False,
) -> CheckResult:
    """Check the nodes that `transports` reach. `recipe` and `paths` add what its run needs; `staged` are the bytes of
    each kind of input that comes from the launcher, the others must be on the nodes; `python` is the interpreter that
    the run will use. Without a recipe `device`, or what the nodes show, says which vendor's rows apply. Raises
    UsageError for a pin in `cluster.expect` that names no fact."""
    ask = by_pdsh(nodes, recipe) if via_pdsh else by_transport(nodes, transports)
    staged = staged or {}
    rows_of = _rows(recipe, paths, frozenset(staged), python, device)
    rows = [row for group in rows_of.values() for row in group]
    expected = _expected(recipe, baseline, rows)
    prelude = activation(recipe) if recipe else None
    ports = _ports(recipe)
    asked = request([*rows, _present()], activation=prelude, ports=ports)
    told, errors = ask_all(ask, nodes, dict.fromkeys((node.name for node in nodes), asked))
    kind = device or (recipe.cluster.device if recipe else None)
    kind_of = dict.fromkeys(told, kind) if kind else _kinds_of(told)
    lead = nodes[0].name if nodes else ""
    applying: dict[str, Row] = {}
    found: list[Fact] = []
    for name, each in told.items():
        own = [row for row in [*rows_of[""], *rows_of.get(kind_of[name] or "cpu", ())]
               if name == lead or not row.first_only]  # fmt: skip
        applying |= {row.name: row for row in own}
        found += _first_facts(name, own, each)
    reached = [node for node in nodes if node.name in told]
    if len(reached) > 1:
        facts_of_pairs, lost = ask_pairs(ask, reached, found, recipe)
        found += facts_of_pairs
        errors |= lost
    findings = [
        *_activation_findings(told),
        *judge(list(applying.values()), found, expected, _wanted(nodes, recipe, sum(staged.values()))),
        *judge_network(
            found,
            reached,
            backend=recipe.launch.backend if recipe else None,
            interface=recipe.cluster.interface if recipe else None,
        ),
    ]
    findings.sort(key=lambda finding: list(Severity).index(finding.severity))
    return CheckResult(
        nodes=tuple(node.name for node in nodes), facts=tuple(found), findings=tuple(findings), errors=errors
    )


def check_words(
    words: Sequence[str], *, device: str | None, baseline: Path | None, via_pdsh: bool, tell: Callable[[str], None]
) -> CheckResult:
    """`llmctl check`: one recipe, or nodes. Nodes that cannot be reached are told in `errors`; the others are
    checked all the same."""
    recipe, paths, staged, python = None, None, {}, "python3"
    if _is_recipe(words):
        planned = draft(words[0])
        recipe, paths, nodes = planned.loaded.recipe, planned.plan.paths, planned.nodes
        staged, python = planned.inputs.sizes, planned.plan.python
    else:
        nodes = parse_nodes(words)
    tell(f"connecting to {', '.join(node.name for node in nodes)}")
    transports: dict[str, Transport] = {}
    errors: dict[str, LlmctlError] = {}
    if recipe is not None and recipe.launch.backend == "local":
        transports = {node.name: LocalTransport(node) for node in nodes}
    elif not via_pdsh:
        login = recipe.cluster if recipe else None
        for outcome in connect_all(nodes, user=login.user if login else None, port=login.port if login else None):
            if outcome.value is not None:
                transports[outcome.item.name] = outcome.value
            elif outcome.error is not None:
                errors[outcome.item.name] = outcome.error
    reached = [node for node in nodes if via_pdsh or node.name in transports]
    tell("reading the nodes")
    try:
        checked = check_nodes(
            reached,
            transports,
            recipe=recipe,
            paths=paths,
            staged=staged,
            python=python,
            device=device,
            baseline=load_facts(baseline) if baseline else (),
            via_pdsh=via_pdsh,
        )
    finally:
        for transport in transports.values():
            transport.close()
    return CheckResult(
        nodes=tuple(node.name for node in nodes),
        facts=checked.facts,
        findings=checked.findings,
        errors=errors | checked.errors,
    )


def save_facts(result: CheckResult, path: Path) -> None:
    """Write the facts to a file that `--baseline` reads."""
    write_json(path, {"schema": SCHEMA, "saved": time.time(), "facts": [asdict(fact) for fact in result.facts]})


def load_facts(path: Path) -> tuple[Fact, ...]:
    """Facts that were saved. Raises UsageError for a file that holds none."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["schema"] != SCHEMA:
            raise UsageError(f"has schema {saved['schema']}, this llmctl reads {SCHEMA}", where=str(path))
        return tuple(Fact(**fact) for fact in saved["facts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "no saved facts", where=str(path), why=str(error), hint="llmctl check NODES --save FILE makes one"
        ) from None


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


def _rows(
    recipe: Recipe | None, paths: NodePaths | None, staged: frozenset[str], python: str, device: str | None
) -> dict[str, list[Row]]:
    """Rows by the kind of device that they are for; "" for every node."""
    cluster = recipe.cluster if recipe else None
    rows = host_rows(cluster.workdir if cluster else None, pdsh=recipe is not None and recipe.launch.backend == "pdsh")
    rows += python_rows(
        python,
        engine=recipe is not None,
        deepspeed=recipe is not None and recipe.deepspeed is not None,
        lora=recipe is not None and recipe.train.method == "lora",
    )
    if recipe is not None and paths is not None:
        rows += path_rows(paths, staged)
    kinds = [device or (cluster.device if cluster else None)]
    wanted = VENDORS if kinds == [None] else {str(kind): VENDORS[str(kind)] for kind in kinds}
    return {"": rows} | {kind: list(each) for kind, each in wanted.items()}


def _present() -> Row:
    return Row(name="accelerator.kinds", run=PRESENT, parse=str.split, mode="told")


def _kinds_of(told: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """The kind of devices that each node shows; a node that shows none is asked as the others are."""
    shown = {name: facts(name, [_present()], each)[0].value or [] for name, each in told.items()}
    others = [kind for kinds in shown.values() for kind in kinds]
    return {name: next(iter([*kinds, *others]), None) for name, kinds in shown.items()}


def _ports(recipe: Recipe | None) -> list[int]:
    """Ports to try for the rendezvous: the recipe's own alone, else some at random from torch's 29500 on, so that two
    runs that start at the same time do not meet."""
    if recipe is not None and recipe.cluster.master_port:
        return [recipe.cluster.master_port]
    return [29500 + secrets.randbelow(500) for _ in range(20)]


def _expected(recipe: Recipe | None, baseline: Sequence[Fact], rows: Sequence[Row]) -> dict[str, Any]:
    try:
        known = [row.name for row in rows if row.mode == "eq"]
        return expectation(recipe.cluster.expect if recipe else {}, baseline, known)
    except ValueError as error:
        raise UsageError(
            f"no fact has the name {error}",
            where="cluster.expect",
            hint="use cann, driver, python, a package's name, or a name of `llmctl check NODES --facts`",
        ) from None


def _wanted(nodes: Sequence[Node], recipe: Recipe | None, disk: int) -> Wanted:
    if recipe is None:
        return Wanted()
    slots = {node.name: node.slots or recipe.cluster.devices_per_node for node in nodes}
    return Wanted(slots=slots, disk=disk)


def _first_facts(node: str, rows: Sequence[Row], told: Mapping[str, Any]) -> list[Fact]:
    found = facts(node, rows, told)
    found.append(Fact(name="network.port", node=node, value=told["port"], source="bind"))
    middle, remote = (told["asked"] + told["answered"]) / 2, (told["begun"] + told["ended"]) / 2
    slack = ((told["answered"] - told["asked"]) - (told["ended"] - told["begun"])) / 2
    found.append(
        Fact(name="clock.offset", node=node, value={"offset": remote - middle, "error": max(slack, 0.0)}, source="time")
    )
    return found


def _activation_findings(told: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    failed = {node: each["activation_error"] for node, each in told.items() if each["activation_error"]}
    return [
        Finding(
            code="activation.wrong",
            severity=Severity.ERROR,
            title=f"{node}: cluster.activate fails: {error.splitlines()[-1]}",
            nodes=(node,),
            values={node: error},
            remedy="try the lines there in a shell of their own: ssh NODE bash",
        )
        for node, error in failed.items()
    ]
