"""A `--help` that costs nothing: Typer's own option makes every call import pydantic, because its absent value is
coerced."""

from __future__ import annotations

import typer


def tell_help(context: typer.Context, wanted: bool) -> None:
    """Print the help of the command and end, when it was asked for."""
    if wanted:
        typer.echo(context.get_help())
        raise typer.Exit


HELP = typer.Option(False, "--help", help="Show this message and exit.", is_eager=True, callback=tell_help)
"""For commands with `add_help_option=False`, which have to start fast."""
