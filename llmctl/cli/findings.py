"""How findings and facts look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmctl.checks.facts import Fact, Finding

COLOURS = {"error": typer.colors.RED, "warning": typer.colors.YELLOW, "info": typer.colors.CYAN}


def show_findings(findings: Sequence[Finding], *, more: str = "llmctl check RECIPE --verbose") -> None:
    """Print errors and warnings whole, and how many remarks there are besides; `more` is what shows them, empty where
    they are shown anyway."""
    told = [finding for finding in findings if finding.severity != "info"]
    for finding in told:
        label = typer.style(f"{finding.severity:<7}", fg=COLOURS[finding.severity])
        typer.echo(f"{label} {finding.code}: {finding.title}")
        if finding.remedy:
            typer.echo(f"        next: {finding.remedy}")
    rest = len(findings) - len(told)
    if rest and more:
        typer.echo(f"{rest} {'remark' if rest == 1 else 'remarks'} (shown by {more})")


def show_remarks(findings: Sequence[Finding]) -> None:
    """Print what is only worth knowing."""
    for finding in findings:
        if finding.severity == "info":
            typer.echo(f"{typer.style('info   ', fg=COLOURS['info'])} {finding.code}: {finding.title}")


def show_facts(facts: Sequence[Fact]) -> None:
    """Print a table: each value of a fact with the nodes that have it; of a fact with many values the first ones."""
    from llmctl.checks.folding import fold
    from llmctl.cli.console import table

    values: dict[str, dict[str, list[str]]] = {}
    for fact in facts:
        values.setdefault(fact.name, {}).setdefault(_whole(fact), []).append(fact.node)
    rows = []
    for name, groups in values.items():
        told = list(groups.items())
        shown = told if len(told) <= ROWS else told[: ROWS - 1]
        rows += [[name, fold(nodes), _cell(whole)] for whole, nodes in shown]
        if rest := [node for _, nodes in told[len(shown) :] for node in nodes]:
            rows.append([name, fold(rest), f"... {len(told) - len(shown)} more values with --json"])
    table(["fact", "nodes", "value"], rows)


ROWS = 16
"""Values of one fact that the table shows; --json has all."""
MOST = 4000
"""Characters of one value that the table shows; --json has all."""


def _whole(fact: Fact) -> str:
    """The value in words, all of it, so that values are grouped by what they are."""
    if fact.error is not None:
        return f"? {fact.error}"
    value: Any = fact.value
    if isinstance(value, dict):
        return ", ".join(f"{key} {_word(each)}" for key, each in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(_word, value)) or "nothing"
    return _word(value)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(whole: str) -> str:
    return whole if len(whole) <= MOST else f"{whole[:MOST]} ... ({len(whole) - MOST} characters more with --json)"
