"""The command line's root, and the one place where errors become exit codes. Imports nothing heavy: each command
imports its workflow when it is called."""

from __future__ import annotations

import importlib
import sys

import typer

app = typer.Typer(
    name="llmctl",
    help="Run LLM training over plain SSH, and report it against a reference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMAND_MODULES = ("setup_nodes", "check", "render", "run", "lifecycle", "report", "recipes")
"""Each module `llmctl.cli.<name>` has `register(app)`."""

for _name in COMMAND_MODULES:
    importlib.import_module(f"llmctl.cli.{_name}").register(app)


def main() -> None:
    """Run the command line and exit with its code."""
    from llmctl.cli.exits import run_guarded

    sys.exit(run_guarded(app))
