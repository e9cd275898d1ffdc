"""`llmctl render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmctl.workflows.render import Draft


def render(
    recipe: str = typer.Argument(help="A recipe file, or the name of a shipped one."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the files to this folder."),
    sets: list[str] = typer.Option([], "--set", metavar="A.B=C", help="Change a key of the recipe; repeatable."),
) -> None:
    """Show every file and command of a run; start nothing."""
    from llmctl.workflows.render import draft, write_files

    planned = draft(recipe, sets=sets)
    if output is not None:
        write_files(planned.files, output)
    show(planned, texts=output is None)
    if output is not None:
        typer.echo(f"\nwrote {len(planned.files)} files to {output}")
        typer.echo(f"by hand: copy them to {planned.plan.paths.run_dir} on every node, then type the commands there")


def show(planned: Draft, *, texts: bool) -> None:
    """Print the plan, the files (whole with `texts`) and the very commands that the run would start."""
    plan = planned.plan
    steps = plan.steps(planned.inputs.samples)
    typer.echo(
        f"{plan.run_id}: {len(plan.nodes)} node(s), world size {plan.world_size}, batch {plan.global_batch}"
        + (f", {steps} steps" if steps else "")
    )
    for remark in planned.remarks:
        typer.echo(f"  {remark}")
    for node in plan.nodes:
        ranks = (
            f"rank {node.first_rank}"
            if node.slots == 1
            else f"ranks {node.first_rank}-{node.first_rank + node.slots - 1}"
        )
        typer.echo(f"  {node.name}: {ranks}, {plan.paths.run_dir}")
    for name, text in planned.files.items():
        typer.echo(f"\n--- {name}\n{text}" if texts else f"  {name}", nl=not texts)
    for kind, tree in planned.inputs.staged.items():
        typer.echo(f"stage {kind}: {len(tree.files)} files, {tree.size} bytes, sha256 {tree.digest[:16]}")
    typer.echo("\ncommands:")
    for command in planned.commands:
        typer.echo(f"  {command.node}: {command.command}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(render)
