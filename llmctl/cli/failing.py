"""How the first failure of a run is told: who, with what, and the last lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmctl.launch.failures import Failure


def show_failure(failure: Failure) -> None:
    """Print the failing node and rank, its message, and the end of its log, on standard error."""
    who = failure.node if failure.rank is None else f"{failure.node} rank {failure.rank}"
    code = f" (exit code {failure.exit_code})" if failure.exit_code is not None else ""
    typer.echo(f"FAILED first: {who}{code}: {failure.message}", err=True)
    for line in failure.tail:
        typer.echo(f"  | {line}", err=True)
