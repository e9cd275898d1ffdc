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


def show_facts(facts: Sequence[Fact], nodes: Sequence[str]) -> None:
    """Print a table: a fact a row, a node a column."""
    from llmctl.cli.console import table

    names = list(dict.fromkeys(fact.name for fact in facts))
    cells = {(fact.name, fact.node): _cell(fact) for fact in facts}
    table(["fact", *nodes], [[name, *(cells.get((name, node), "") for node in nodes)] for name in names])


def _cell(fact: Fact) -> str:
    if fact.error is not None:
        return f"? {fact.error}"[:60]
    value: Any = fact.value
    if isinstance(value, (dict, list)) and len(json.dumps(value)) > 60:
        return f"{len(value)} entries"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
