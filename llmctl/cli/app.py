"""The command line's root. Imports nothing heavy: each command imports its workflow when it is called."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import typer

from llmctl.cli.helping import HELP, tell_help

app = typer.Typer(
    name="llmctl",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMAND_MODULES = (
    "setup_nodes",
    "check",
    "render",
    "run",
    "keep",
    "attach",
    "status",
    "logs",
    "lifecycle",
    "report",
    "diff",
    "rerun",
    "recipes",
    "hosts",
    "nodes",
    "runs",
    "doctor",
    "bug_report",
    "push",
    "prepare",
)
"""Each module `llmctl.cli.<name>` has `register(app)`."""

for _name in COMMAND_MODULES:
    importlib.import_module(f"llmctl.cli.{_name}").register(app)


@app.callback(invoke_without_command=True, add_help_option=False)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
    show_help: bool = HELP,  # noqa: ARG001 - its callback did the work
) -> None:
    """Run LLM training over plain SSH, and report it against a reference."""
    if version:
        from llmctl import __version__

        typer.echo(f"llmctl {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        tell_help(context, True)


def main() -> None:
    """Run the command line and exit with its code."""
    from llmctl.cli.exits import run_guarded
    from llmctl.errors import ExitCode

    try:
        code = run_guarded(app)
    except KeyboardInterrupt:  # once more, while the first was told
        code = int(ExitCode.INTERRUPTED)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as under nohup
        # What still runs in threads is waited for; whoever does not want to wait shall not see a traceback.
        signal.signal(signal.SIGINT, lambda _signum, _frame: os._exit(code))
    sys.exit(code)
