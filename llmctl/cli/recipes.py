"""`llmctl recipes`: what is shipped."""

from __future__ import annotations

import typer

recipes = typer.Typer(help="The shipped recipes.", no_args_is_help=True)


@recipes.command("list")
def list_recipes() -> None:
    """List the shipped recipes."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(recipes, name="recipes")
