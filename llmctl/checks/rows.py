"""What a row of the check is: what is read on a node, by which command, how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmctl.checks.estimate import Need
from llmctl.checks.facts import Severity

Mode = Literal["eq", "ok", "distinct", "told"]

DEEP_SECONDS = 3600.0
"""How long it may take to read every byte of weights, or of a site-packages folder."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the run needs, for rows that judge each node by itself."""

    slots: Mapping[str, int] = field(default_factory=dict)
    """Devices by node; empty when only nodes were named."""
    disk: int = 0
    """Bytes that staging will write."""
    needs: Mapping[str, Need] = field(default_factory=dict)
    """What the run is estimated to want, by node; empty where the model's size is not known."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The environment that the recipe asks for."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """All known values of the node that is judged, by name."""


Complaint = tuple[Severity, str] | None
Judge = Callable[[Any, str, Wanted], Complaint]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row. `run` is sh (bash with `env`); `parse` makes the value of its output, ValueError is unknown.

    Modes: `eq` must be the same on all nodes; `ok` is judged on each node by itself; `distinct` are lists that have no
    entry twice, on a node or between nodes; `told` is only told."""

    name: str
    run: str
    parse: Callable[[str], Any]
    mode: Mode = "eq"
    severity: Severity = Severity.ERROR
    env: bool = False
    """Read in the environment that `cluster.activate` makes."""
    grade: Callable[[list[Any]], Severity] | None = None
    """Mode eq: how bad these different values are; without it `severity`."""
    judge: Judge | None = None
    """(value, node, wanted) -> complaint; for mode `eq` besides the comparison."""
    also: tuple[str, ...] = ()
    """Other facts of the node that `judge` looks at."""
    must: str = ""
    """What is said, as an error, where the value cannot be read; without it that is a warning."""
    needed: bool = False
    """With a recipe, a node on which it cannot be read blocks the run."""
    optional: bool = False
    """Where it cannot be read, that is only a remark."""
    first_only: bool = False
    """Asked on the first node alone."""
    deep: bool = False
    """Asked only with --deep."""
    seconds: float | None = None
    """How long it may take; None: as long as any command."""
    shallow: bool = False
    """Not asked with --deep, which looks closer at the same."""
    remedy: str = ""
    source: str = ""
    """What is read, in words, for the documentation."""
    why: str = ""
    """What goes wrong in a run where this is wrong, for the documentation."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A judgement over several facts of one node."""

    name: str
    judge: Callable[[Wanted, str], Complaint]
    """(wanted with the node's facts, node) -> complaint."""
    also: tuple[str, ...]
    """The facts that it looks at."""
    severity: Severity
    """The worst that it tells, for the documentation."""
    remedy: str
    source: str
    why: str


def first_file(*paths: str) -> str:
    """A command that prints the first file that can be read; paths may hold globs and variables."""
    tries = " ".join(paths)
    return f'for f in {tries}; do [ -r "$f" ] && {{ cat "$f"; exit; }}; done; echo "none of: "{tries} >&2; exit 1'


def file_or_none(*paths: str) -> str:
    """Like `first_file`, but prints `none` where there is no such file: for what need not be there."""
    return f'for f in {" ".join(paths)}; do [ -s "$f" ] && {{ cat "$f"; exit; }}; done; echo none'


def or_none(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser for `file_or_none`: "none" stays that."""
    return lambda out: "none" if out.strip() == "none" else parse(out)


def minor_differs(values: list[Any]) -> Severity:
    """Another x.y of x.y.z is an error, another z a warning."""
    return Severity.ERROR if len({tuple(str(v).split(".")[:2]) for v in values}) > 1 else Severity.WARNING


def major_differs(values: list[Any]) -> Severity:
    """NVIDIA drivers: another branch is an error, another patch level a warning."""
    return Severity.ERROR if len({str(v).split(".")[0] for v in values}) > 1 else Severity.WARNING
