"""What a check is about: which rows apply, and how what was read is judged. Pure, so that saved facts can be judged
again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from typing import Any

from llmctl.checks import environment, python_env
from llmctl.checks.addresses import known
from llmctl.checks.collective import judge_collective
from llmctl.checks.container import container_rows
from llmctl.checks.environment import environment_rows
from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.folding import fold
from llmctl.checks.host import host_rows
from llmctl.checks.judge import expectation, judge, pinned_fact, unknown
from llmctl.checks.network import judge_network
from llmctl.checks.pair_codes import CODES
from llmctl.checks.paths import config_rows, path_rows
from llmctl.checks.python_env import python_rows
from llmctl.checks.rows import Row, Rule, Wanted
from llmctl.checks.space import node_needs
from llmctl.checks.vendors import PRESENT, VENDORS
from llmctl.recipe.hosts import Node

KINDS = Row(
    name="accelerator.kinds", run=PRESENT, parse=str.split, mode="told", severity=Severity.INFO,
    source="device files and driver files", why="which vendor's rows apply where no recipe says it",
)  # fmt: skip

RULES = (*python_env.RULES, environment.SLIPS)
"""What is judged from several facts of a node, whatever its devices."""
OF_ESTIMATES = ("model.config", "disk.place")
"""What the estimates stand on that `disk.workdir` and `host.memory` are held against."""
ACTIVATION = "activation"
"""The fact whether `cluster.activate` went well on a node."""
ALWAYS = (KINDS.name, ACTIVATION)
"""Facts that the judgement of others stands on."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the nodes are asked and held to. Values only, as in the saved file."""

    workdir: str | None = None
    python: str = "python3"
    device: str | None = None
    """None: what each node shows."""
    backend: str | None = None
    """None: only nodes were named."""
    interface: str | None = None
    engine: bool = False
    deepspeed: bool = False
    lora: bool = False
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What must lie on the nodes: `model`, `adapter`, `data`, `code` -> paths."""
    count: int = 0
    """Nodes in all, those included that could not be read."""
    slots: Mapping[str, int] = field(default_factory=dict)
    disk: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    """The values of estimate.Training; empty where only nodes were named."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """The keys of the model's config, where the launcher knows them; else `model.config` of the nodes tells."""
    variables: Mapping[str, str] = field(default_factory=dict)
    container: Mapping[str, str] = field(default_factory=dict)
    """`runtime` and `image` where the ranks run in containers: what is inside is then the image's, not the node's."""
    expect: Mapping[str, str] = field(default_factory=dict)
    deep: bool = False
    only: tuple[str, ...] = ()
    """Names of facts, or their beginnings or patterns; empty for all."""

    def asks(self, name: str) -> bool:
        """Whether a fact or a finding is asked for by its name."""
        return not self.only or any(name == o or name.startswith(f"{o}.") or fnmatch(name, o) for o in self.only)

    def reads(self, fact: str) -> bool:
        """Whether a fact is read: asked for itself, or by a finding that is judged from several."""
        return (
            self.asks(fact)
            or any(fact in pair.facts and self.asks(code) for code, pair in CODES.items())
            or (fact in OF_ESTIMATES and (self.asks("disk.workdir") or self.asks("host.memory")))
            or any(self.asks(name) for name in _supported().get(fact, ()))
        )

    def tells(self, code: str) -> bool:
        """Whether a finding about nodes is told: asked for itself, or by one of its facts."""
        return self.asks(code) or any(self.asks(fact) for fact in CODES[code].facts)

    @property
    def rows(self) -> dict[str, list[Row]]:
        """Rows by the kind of device that they are for; "" for every node."""
        rows = [
            KINDS,
            *host_rows(self.workdir, pdsh=self.backend == "pdsh"),
            *environment_rows(self.variables),
            *python_rows(self.python, engine=self.engine, deepspeed=self.deepspeed, lora=self.lora),
            *path_rows(self.places, deep=self.deep, local=self.backend == "local"),
            *config_rows(self.places),
            *container_rows(self.container),
        ]
        kinds = VENDORS if self.device is None else [self.device]
        groups = {"": rows} | {kind: list(VENDORS[kind].rows) for kind in kinds}
        return {
            kind: [
                row
                for row in group
                if (row is KINDS or self.reads(row.name))
                and self.deep >= row.deep
                and not (self.deep and row.shallow)
                and not (self.container and _of_image(row))
            ]
            for kind, group in groups.items()
        }

    def names(self) -> list[str]:
        """The facts that can be held against a pin or a baseline."""
        every = replace(self, only=())
        return [row.name for group in every.rows.values() for row in group if row.mode == "eq"]

    def applying(self, facts: Sequence[Fact]) -> dict[str, list[Row]]:
        """The rows of each node, once it is known which devices it shows. A node that shows none is asked as the
        others are. `facts` may hold no more than `accelerator.kinds`."""
        shown = {fact.node: fact.value or [] for fact in facts if fact.name == KINDS.name}
        others = [kind for kinds in shown.values() for kind in kinds]
        first = next(iter(shown), "")
        rows = self.rows
        return {
            node: [
                row
                for row in [*rows[""], *rows.get(self.device or next(iter([*kinds, *others]), "cpu"), ())]
                if node == first or not row.first_only
            ]
            for node, kinds in shown.items()
        }

    def unasked(self, facts: Sequence[Fact]) -> dict[str, list[str]]:
        """The names of `only` for which no node was asked anything, with the kinds of device that have them."""
        there = [row.name for rows in self.applying(facts).values() for row in rows]
        found: dict[str, list[str]] = {}
        for name in self.only if facts else ():
            alone = replace(self, only=(name,), device=None)
            kinds = [kind for kind, rows in alone.rows.items() if kind and any(alone.asks(row.name) for row in rows)]
            if kinds and not any(alone.asks(each) for each in there):
                found[name] = kinds
        return found

    def rules(self, facts: Sequence[Fact]) -> list[tuple[Rule, list[str]]]:
        """Each rule with the nodes that it is for."""
        nodes = list(dict.fromkeys(fact.node for fact in facts))
        found: list[tuple[Rule, list[str]]] = [(rule, nodes) for rule in RULES]
        shown = {fact.node: fact.value or [] for fact in facts if fact.name == KINDS.name}
        for kind, vendor in VENDORS.items():
            here = [node for node in nodes if kind == self.device or (not self.device and kind in shown.get(node, []))]
            found += [
                (rule, here) for rule in vendor.rules if here and (self.engine or rule.name != "compat.torch_build")
            ]
        return [(rule, nodes) for rule, nodes in found if self.asks(rule.name)]


@cache
def _supported() -> dict[str, tuple[str, ...]]:
    """Fact -> the rows and rules whose judgement looks at it besides their own."""
    found: dict[str, tuple[str, ...]] = {}
    each: list[Row | Rule] = [*RULES, *host_rows(None, pdsh=False)]
    for vendor in VENDORS.values():
        each += [*vendor.rows, *vendor.rules]
    for part in each:
        for fact in part.also:
            found[fact] = (*found.get(fact, ()), part.name)
    return found


def findings(
    question: Question, nodes: Sequence[Node], facts: Sequence[Fact], baseline: Sequence[Fact] = ()
) -> list[Finding]:
    """Judge what was read, errors first. Raises UnknownPin for a pin that names no fact."""
    failed = {fact.node: fact.error for fact in facts if fact.name == ACTIVATION and fact.error is not None}
    activations = [
        Finding(
            code="activation.wrong", severity=Severity.ERROR, nodes=(node,), values={node: error},
            title=f"{node}: cluster.activate fails: {error.splitlines()[-1]}",
            remedy="try the lines there in a shell of their own: ssh NODE bash",
        )
        for node, error in failed.items()
    ]  # fmt: skip
    # What a failed activation leaves unknown is told by its own finding alone.
    facts = [fact for fact in facts if not (fact.error and fact.scope == "env" and fact.node in failed)]
    applying: dict[str, Row] = {}
    for rows in question.applying(facts).values():
        applying |= {row.name: row for row in rows}
    read = {fact.node for fact in facts}
    needs, remarks = node_needs(question.training, question.model, question.slots, known(facts))
    found = activations + remarks
    # What is read for the sake of another fact is not held against anybody; that it is not known is told.
    asked = [row for row in applying.values() if question.asks(row.name)]
    for row in applying.values():
        if row not in asked:
            found += unknown(row, {fact.node: fact for fact in facts if fact.name == row.name})
    found += judge(
        asked,
        facts,
        expectation(question.expect, baseline, question.names()),
        Wanted(slots=question.slots, disk=question.disk, needs=needs, variables=question.variables),
        question.rules(facts),
        question.count,
        {pinned_fact(pin, question.names()) or pin for pin in question.expect},
    )
    found += [
        finding
        for finding in judge_network(
            known(facts),
            [node for node in nodes if node.name in read],
            backend=question.backend,
            interface=question.interface,
        )
        if question.tells(finding.code)
    ]
    found += judge_collective(known(facts), [node.name for node in nodes])
    found = [replace(finding, remedy=typed(finding.remedy, finding.nodes, nodes)) for finding in found]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def typed(remedy: str, odd: Sequence[str], nodes: Sequence[Node]) -> str:
    """A remedy as it can be typed: NODES are all nodes of the check, NODE is the first odd one."""
    names = [node.name for node in nodes]
    words = {"NODES": fold(names), "NODE": next(iter([*odd, *names]), "NODE")}
    return re.sub(r"\bNODES?\b", lambda found: words[found[0]], remedy)


def _of_image(row: Row) -> bool:
    """Whether a row is about what a container brings itself."""
    return row.env or row.name.startswith("toolkit.")


def from_values(values: Mapping[str, Any]) -> Question:
    """The question of a saved file. Raises TypeError for keys that are none."""
    given: dict[str, Any] = {key: tuple(value) if key == "only" else value for key, value in values.items()}
    return Question(**given)
