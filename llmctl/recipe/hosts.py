"""Nodes as a person writes them: names, ranges, groups, exclusions, hostfiles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from llmctl.errors import ManyErrors, UsageError

if TYPE_CHECKING:
    from llmctl.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a run. `name` is what every table shows; the rest overrides inventory and ssh config."""

    name: str
    address: str | None = None
    user: str | None = None
    port: int | None = None
    slots: int | None = None
    """Devices to use here; None: the recipe's `devices_per_node`."""


_NAMES = r"(?:@?[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[0-9,/-]+\][A-Za-z0-9._-]*)*)"
_NODE = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    rf"(?P<name>{_NAMES}(?:!{_NAMES})*)"
    r"(?:=(?P<address>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*))?"
    r"(?::(?P<port>[0-9]+))?"
)
_FORM = "[user@]name[=address][:port], for example root@node1=10.0.0.1:22, node[01-16] or node[01-16]!node03"
MOST_NODES = 65_536
"""A range that names more is a slip of the finger, and would take all memory."""

Groups = Mapping[str, Sequence[str]]
"""Group -> names of its nodes."""


def parse_nodes(texts: Iterable[str], groups: Groups | None = None) -> tuple[Node, ...]:
    """Nodes in the order given: ranges expanded, `@group` replaced by its nodes (of `groups`, without them of
    ClusterShell's own configuration), what stands behind `!` left out. Raises ManyErrors naming every text that is no
    node and every node that stands twice."""
    nodes: list[Node] = []
    errors: list[UsageError] = []
    for text in texts:
        try:
            nodes += _expand(text, groups)
        except UsageError as error:
            errors.append(error)
    errors += _duplicates(nodes)
    if errors:
        raise ManyErrors(errors, where="nodes")
    return tuple(nodes)


def read_hostfile(path: Path) -> tuple[Node, ...]:
    """Read `name slots=N` lines strictly; `#` starts a comment. Raises ManyErrors with line and column of each
    mistake, UsageError when the file is missing or empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError("no such hostfile", where=str(path), hint="write lines like: node1 slots=8") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the hostfile cannot be read", where=str(path), why=str(error)) from None
    return parse_hostfile(text, str(path))


def parse_hostfile(text: str, source: str) -> tuple[Node, ...]:
    """The nodes of a hostfile's text; `source` is its name in errors. Raises as `read_hostfile` does."""
    nodes: list[Node] = []
    errors: list[UsageError] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = list(re.finditer(r"\S+", line.split("#", 1)[0]))
        if not words:
            continue
        try:
            for node in _hostfile_line(words):
                if node.name in seen:
                    raise _At(words[0].start(), f"{node.name} stands twice", f"first on line {seen[node.name]}")
                seen[node.name] = number
                nodes.append(node)
        except _At as at:
            errors.append(UsageError(at.what, where=f"{source}:{number}:{at.column + 1}", hint=at.hint))
    if errors:
        raise ManyErrors(errors, where=source)
    if not nodes:
        raise UsageError("the hostfile names no node", where=source, hint="write lines like: node1 slots=8")
    return tuple(nodes)


def recipe_nodes(recipe: Recipe, folder: Path) -> tuple[Node, ...]:
    """The nodes that a recipe names, each with its slots; `localhost` for the local backend, places named `task0` and
    so on for nodes that Slurm chooses."""
    cluster, slurm = recipe.cluster, recipe.launch.slurm
    if recipe.launch.backend == "local":
        nodes: tuple[Node, ...] = (Node(name="localhost", address="127.0.0.1"),)
    elif recipe.launch.backend == "slurm" and slurm and slurm.nodes:
        nodes = tuple(Node(name=f"task{number}") for number in range(slurm.nodes))
    elif cluster.hostfile:
        nodes = read_hostfile(folder / cluster.hostfile)
    else:
        nodes = parse_nodes(cluster.nodes)
    return tuple(replace(node, slots=node.slots or cluster.devices_per_node) for node in nodes)


def spare_nodes(recipe: Recipe, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes of `launch.spares`. Raises UsageError for one that is among `nodes` already."""
    spares = parse_nodes(recipe.launch.spares)
    twice = sorted({spare.name for spare in spares} & {node.name for node in nodes})
    if twice:
        raise UsageError(
            f"{', '.join(twice)} runs already",
            where="launch.spares",
            why="a spare stands beside the nodes of the run",
            hint="name other nodes, or leave it out",
        )
    return tuple(replace(spare, slots=recipe.cluster.devices_per_node) for spare in spares)


class _At(Exception):
    """A mistake and its column, turned into an error by the reader."""

    def __init__(self, column: int, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.column, self.what, self.hint = column, what, hint


_HINTS = {
    "port": "the port stands with the node: node1:2222 slots=8",
    "user": "the user stands with the node: root@node1 slots=8",
    "address": "the address stands with the node: node1=10.0.0.1 slots=8",
}


def _hostfile_line(words: list[re.Match[str]]) -> list[Node]:
    slots = None
    for word in words[1:]:
        key, equals, value = word.group().partition("=")
        if key != "slots" or not equals:
            raise _At(word.start(), f"unknown word {word.group()!r}", _HINTS.get(key, "a line is: node1 slots=8"))
        if slots is not None:
            raise _At(word.start(), "slots stands twice")
        if not re.fullmatch(r"[0-9]+", value) or not value.isascii():
            raise _At(word.start() + 6, f"slots must be a whole number, not {value!r}", "node1 slots=8")
        slots = int(value)
        if slots == 0:
            raise _At(word.start() + 6, "slots=0 leaves nothing to run on", "drop the line or give slots=1")
    try:
        return [replace(node, slots=slots) for node in _expand(words[0].group())]
    except UsageError as error:
        raise _At(words[0].start(), error.what, error.hint) from None


def _expand(text: str, groups: Groups | None = None) -> list[Node]:
    match = _NODE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no node", hint=f"the form is {_FORM}")
    name, address, port = match["name"], match["address"], match["port"]
    if port is not None and not 1 <= int(port) <= 65535:
        raise UsageError(f"{text!r}: port {port} is not between 1 and 65535")
    names = [name]
    if set(name) & set("[@!"):
        names = _members(name, groups)
        if address is not None:
            raise UsageError(f"{text!r}: a range cannot have one address", hint="write each node with its own")
    return [
        Node(
            name=each,
            address=address.strip("[]") if address else None,
            user=match["user"],
            port=int(port) if port else None,
        )
        for each in names
    ]


def _members(text: str, groups: Groups | None) -> list[str]:
    """The names that ranges, groups and exclusions leave."""
    wanted, *excluded = text.split("!")
    names = expand_range(wanted, groups)
    for pattern in excluded:
        gone = expand_range(pattern, groups)
        strangers = [name for name in gone if name not in names]
        if strangers:
            raise UsageError(f"{text!r}: {', '.join(strangers)} is not among {wanted}, so it cannot be left out")
        names = [name for name in names if name not in gone]
    if not names:
        raise UsageError(f"{text!r} leaves no node")
    return names


def is_address(text: str) -> bool:
    """Whether a text can stand behind the `=` of a node, an IPv6 address without its brackets."""
    return bool(re.fullmatch(r"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*|[A-Za-z0-9][A-Za-z0-9._-]*", text))


def expand_range(text: str, groups: Groups | None = None) -> list[str]:
    """The names of one range `node[01-16]` or of one `@group`. Raises UsageError for what is neither."""
    if text.startswith("@") and groups is not None:
        if text[1:] not in groups:
            raise UsageError(f"no group {text}", hint=f"there are {', '.join(sorted(groups)) or 'none'}")
        return list(groups[text[1:]])
    if prod(_count(inside) for inside in re.findall(r"\[([0-9,/-]+)\]", text)) > MOST_NODES:
        raise UsageError(f"{text!r} names more than {MOST_NODES} nodes")
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    try:
        names = list(NodeSet(text))
    except NodeSetException as error:
        raise UsageError(f"{text!r} is no range of nodes", why=str(error), hint="node[01-16]") from None
    if not names:
        raise UsageError(f"no group {text}", why="ClusterShell knows none of that name", hint="cluset -l lists them")
    return [str(name) for name in names]


def _count(inside: str) -> int:
    """About how many numbers a bracket names."""
    ranges = re.findall(r"([0-9]+)-([0-9]+)", inside)
    return inside.count(",") + 1 + sum(max(0, int(high) - int(low)) for low, high in ranges)


def _duplicates(nodes: list[Node]) -> list[UsageError]:
    names = [node.name for node in nodes]
    return [UsageError(f"{name} stands twice") for name in sorted({n for n in names if names.count(n) > 1})]
