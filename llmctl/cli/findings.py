"""How findings and facts look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmctl.checks.facts import Fact, Finding

COLOURS = {"error": typer.colors.RED, "warning": typer.colors.YELLOW, "info": typer.colors.CYAN}


def show_findings(findings: Sequence[Finding]) -> None:
    """Print errors and warnings whole, and how many remarks there are besides."""
    told = [finding for finding in findings if finding.severity != "info"]
    for finding in told:
        label = typer.style(f"{finding.severity:<7}", fg=COLOURS[finding.severity])
        typer.echo(f"{label} {finding.code}: {finding.title}")
        if finding.remedy:
            typer.echo(f"        next: {finding.remedy}")
    rest = len(findings) - len(told)
    if rest:
        typer.echo(f"{rest} {'remark' if rest == 1 else 'remarks'} (llmctl check --verbose)")


def show_remarks(findings: Sequence[Finding]) -> None:
    """Print what is only worth knowing."""
    for finding in findings:
        if finding.severity == "info":
            typer.echo(f"{typer.style('info   ', fg=COLOURS['info'])} {finding.code}: {finding.title}")


def show_facts(facts: Sequence[Fact]) -> None:
    """Print a table: each value of a fact with the nodes that have it."""
    from llmctl.checks.folding import fold
    from llmctl.cli.console import table

    groups: dict[tuple[str, str], list[str]] = {}
    for fact in facts:
        groups.setdefault((fact.name, _cell(fact)), []).append(fact.node)
    values: dict[str, int] = {}
    for name, _ in groups:
        values[name] = values.get(name, 0) + 1
    ordered = sorted(groups.items(), key=lambda item: list(values).index(item[0][0]))
    table(["fact", "nodes", "value"], [[name, fold(nodes), cell] for (name, cell), nodes in ordered])


def _cell(fact: Fact) -> str:
    if fact.error is not None:
        return f"? {fact.error}"[:60]
    value: Any = fact.value
    if isinstance(value, (dict, list)) and len(json.dumps(value)) > 60:
        return f"{len(value)} entries"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
