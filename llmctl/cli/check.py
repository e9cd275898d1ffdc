"""`llmctl check`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmctl.errors import LlmctlError
    from llmctl.workflows.check import CheckResult


def check(
    what: list[str] = typer.Argument(
        metavar="RECIPE|NODES|FACTS...", help="A recipe, nodes like node[1-4], or a file of saved facts."
    ),
    sets: list[str] = typer.Option([], "--set", metavar="A.B=C", help="Change a key of the recipe; repeatable."),
    device: str | None = typer.Option(None, help="Whose devices: cpu, npu, cuda, ...; without it what the nodes show."),
    save: Path | None = typer.Option(None, help="Write the facts to this file, for --baseline and for judging again."),
    baseline: Path | None = typer.Option(None, help="Hold every node against these saved facts."),
    deep: bool = typer.Option(False, "--deep", help="Read whole weights and every file of the core packages."),
    collective: bool = typer.Option(False, "--collective", help="Let the ranks of the recipe meet for one all_reduce."),
    only: list[str] = typer.Option([], metavar="NAME", help="Only these facts: driver, python, disk.tmp; repeatable."),
    via: str = typer.Option("ssh", help="ssh or pdsh: how the nodes are asked."),
    facts: bool = typer.Option(False, "--facts", help="Show every fact, nodes with the same value together."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show remarks too."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Tell where nodes disagree or cannot carry a run."""
    from llmctl.checks.vendors import VENDORS
    from llmctl.cli.findings import show_facts, show_findings, show_remarks
    from llmctl.cli.nodes_table import watching
    from llmctl.errors import ExitCode, UsageError, worst
    from llmctl.workflows.check import check_words
    from llmctl.workflows.facts_file import assert_folder

    if via not in ("ssh", "pdsh"):
        raise UsageError(f"--via {via} is not understood", hint="--via ssh or --via pdsh")
    if device is not None and device not in VENDORS:
        raise UsageError(f"no device {device}", hint=f"--device is one of {', '.join(VENDORS)}")
    if save is not None:
        assert_folder(save)
    with watching(quiet=as_json) as watch:
        result = check_words(
            what, sets=sets, device=device, baseline=baseline, via_pdsh=via == "pdsh", deep=deep,
            only=[name for names in only for name in names.split(",")], collective=collective, watch=watch,
        )  # fmt: skip
    unsaved = _save(save, result) if save is not None else None
    if as_json:
        typer.echo(json.dumps(_plain(result), ensure_ascii=False, indent=2))
    else:
        show_findings(result.findings, more="" if verbose else "--verbose")
        if verbose:
            show_remarks(result.findings)
        if facts:
            show_facts(result.facts)
        for name, kinds in result.question.unasked(result.facts).items():
            typer.echo(_not_asked(name, kinds, result))
        typer.echo(conclusion(result))
    for error in (*result.errors.values(), *([unsaved] if unsaved else [])):
        typer.echo(f"llmctl: {error}", err=True)
    code = worst(
        ([unsaved.exit_code] if unsaved else [])
        + [ExitCode.INTERRUPTED] * result.interrupted
        + [ExitCode.NODE] * bool(result.errors)
        + [ExitCode.BLOCKED] * result.blocked
    )
    raise typer.Exit(int(code))


def _save(path: Path, result: CheckResult) -> LlmctlError | None:
    """Save the facts; what is wrong with that is told after what was found."""
    from llmctl.errors import LlmctlError
    from llmctl.workflows.facts_file import save_facts

    try:
        save_facts(
            path, result.question, result.nodes, result.facts, result.errors, interrupted=result.interrupted
        )  # fmt: skip
    except LlmctlError as error:
        return error
    return None


def conclusion(result: CheckResult) -> str:
    """The last line: how much was read, and what follows. Nodes agree only on what was compared."""
    counts = {severity: sum(f.severity == severity for f in result.findings) for severity in ("error", "warning")}
    read, names = len(result.nodes) - len(result.errors), len(result.coverage.known)
    words = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    told = ", ".join(words) or _nothing_wrong(result, read)
    if result.interrupted:
        told += "; interrupted, not all was asked"
    nodes, facts = "node" if len(result.nodes) == 1 else "nodes", "fact" if names == 1 else "facts"
    return f"{read} of {len(result.nodes)} {nodes} read, {names} {facts}{' each' if read > 1 else ''}: {told}"


def _not_asked(name: str, kinds: Sequence[str], result: CheckResult) -> str:
    """Why nothing was read of a name that was asked for."""
    device = result.question.device
    shown = f"the devices are {device}" if device else "no node shows such a device"
    typed = "" if device else f"; --device {kinds[0]} asks all the same"
    return f"{name} was not asked: it is read with {', '.join(kinds)}, and {shown}{typed}"


def _nothing_wrong(result: CheckResult, read: int) -> str:
    """What may be said where nothing was found."""
    if not read:
        return "nothing is known"
    if result.interrupted:
        return "nothing is wrong so far"
    if not result.coverage.compared and not result.coverage.judged:
        of = f" of {', '.join(result.question.only)}" if result.question.only else ""
        return f"nothing{of} was compared"
    if not result.coverage.compared:
        return "nothing is wrong, nothing was compared" + (" with another node" if read == 1 else "")
    return "they agree" if read > 1 else "it is as expected"


def _plain(result: CheckResult) -> dict[str, Any]:
    return {
        "schema": 1,
        "nodes": [node.name for node in result.nodes],
        "findings": [asdict(finding) for finding in result.findings],
        "facts": [asdict(fact) for fact in result.facts],
        "errors": {node: str(error) for node, error in result.errors.items()},
        "interrupted": result.interrupted,
        "compared": sorted(result.coverage.compared),
        "not_asked": result.question.unasked(result.facts),
        "blocked": result.blocked,
    }


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(check)
