"""`llmctl recipes`: what is shipped, and what a recipe may hold."""

from __future__ import annotations

import dataclasses
import json

import typer

recipes = typer.Typer(help="The shipped recipes, and the form of a recipe.", rich_markup_mode=None)


@recipes.command("list")
def list_recipes(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """List the shipped recipes."""
    from llmctl.workflows import recipes as workflow

    rows = workflow.list_recipes()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    from llmctl.cli.console import table

    table(
        ["name", "device", "nodes x devices", "stage", "method", "about"],
        [[r.name, r.device, f"{r.nodes} x {r.devices_per_node}", r.stage, r.method, r.about] for r in rows],
    )


@recipes.command("show")
def show_recipe(name: str = typer.Argument(help="Its name, or a file.")) -> None:
    """Print a recipe."""
    from llmctl.workflows import recipes as workflow

    typer.echo(workflow.show_recipe(name), nl=False)


@recipes.command("templates")
def list_templates(
    name: str | None = typer.Argument(None, help="Only those of this name, or of this name@version."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, with every segment."),
) -> None:
    """List the chat templates and their versions."""
    from llmctl.workflows import templates as workflow

    rows = workflow.list_templates(name)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2, ensure_ascii=False))
        return
    from llmctl.cli.console import table

    table(
        ["template", "of a turn", "system", "stops at", "tools", "cut"],
        [[r.name, r.turn, _start(r.default_system), " ".join(r.stop), r.tools or "", r.cutoff_rule] for r in rows],
    )


def _start(text: str, length: int = 32) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


@recipes.command("schema")
def schema() -> None:
    """Print the JSON schema of a recipe."""
    from llmctl.workflows import recipes as workflow

    typer.echo(json.dumps(workflow.recipe_schema(), indent=2))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(recipes, name="recipes")
