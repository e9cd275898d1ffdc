"""`llmctl hosts`."""

from __future__ import annotations

import json
from pathlib import Path

import typer

hosts = typer.Typer(help="Host lists: converted, and shown as llmctl takes them.", rich_markup_mode=None)


@hosts.command("convert")
def convert(
    file: str = typer.Argument(metavar="FILE", help="A host list; - is standard input."),
    to: str = typer.Option(help="deepspeed, llmctl, mpi, mpich, slurm, ansible, ansible-yaml or inventory."),
    source: str | None = typer.Option(None, "--from", help="Its format; without it what the text looks like."),
    only: list[str] = typer.Option([], metavar="WORDS", help="Only these: node[1-4], @group, @all!node3. Repeatable."),
    slots: int | None = typer.Option(None, help="Slots of the hosts that say nothing of theirs."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write here instead of standard output."),
) -> None:
    """Write a host list in another program's form.

    What that form cannot carry is told on standard error."""
    from llmctl.workflows import hosts as workflow

    made = workflow.convert(file, target=to, source=source, slots=slots, only=only)
    if source is None:
        typer.echo(f"read as {made.read_as}; --from says otherwise", err=True)
    for warning in made.warnings:
        typer.echo(f"{typer.style('warning', fg=typer.colors.YELLOW)} {warning}", err=True)
    if output is None:
        typer.echo(made.text, nl=False)
        return
    workflow.write_list(output, made.text)
    typer.echo(f"{output}: {made.hosts} {'host' if made.hosts == 1 else 'hosts'}", err=True)


@hosts.command("show")
def show(
    words: list[str] = typer.Argument(metavar="NODES...", help="node[1-4], node[1-8]!node3, @group, root@n=10.0.0.1."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Show which nodes the words name and where llmctl would reach them; nothing is contacted."""
    from llmctl.workflows import hosts as workflow

    targets = workflow.show(words)
    if as_json:
        rows = [
            {
                "node": target.node.name,
                "address": target.address,
                "port": target.port,
                "user": target.user,
                "jump": target.jump,
                "keys": [str(path) for path in target.identities],
            }
            for target in targets
        ]
        typer.echo(json.dumps({"schema": 1, "nodes": rows}, ensure_ascii=False, indent=2))
        return
    from llmctl.cli.console import table

    table(
        ["node", "address", "port", "user", "jump host"],
        [[t.node.name, t.address, t.port, t.user, t.jump or ""] for t in targets],
    )
    typer.echo(f"{len(targets)} {'node' if len(targets) == 1 else 'nodes'}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(hosts, name="hosts")
