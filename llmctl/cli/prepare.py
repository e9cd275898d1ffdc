"""`llmctl prepare`."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import typer

if TYPE_CHECKING:
    from types import FrameType

EVERY = 10.0
"""Seconds between two lines in a pipe."""


def prepare(
    recipe: str = typer.Argument(help="A recipe file, or the name of a shipped one."),
    sets: list[str] = typer.Option([], "--set", metavar="A.B=C", help="Change a key of the recipe; repeatable."),
    workers: int | None = typer.Option(None, "--workers", min=1, help="Processes that tokenise (default: all cores)."),
    samples: int = typer.Option(3, "--samples", min=0, metavar="N", help="Show the first N samples."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Tokenise and pack the data of a recipe once; its runs then use that.

    It lies in the cache until you remove it. Without it a run prepares on each of its nodes."""
    from llmctl.cli.prepare_shown import as_plain, show
    from llmctl.errors import Interrupted
    from llmctl.workflows.prepare import prepare as make

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, _interrupt)
    try:
        with Bar() as bar:
            made = make(recipe, sets=sets, workers=workers, samples=samples, teller=bar)
    except KeyboardInterrupt:
        raise Interrupted("stopped; nothing of it is left") from None
    if as_json:
        typer.echo(json.dumps(as_plain(made), indent=2, ensure_ascii=False))
    else:
        show(made)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Bar:
    """How far it is, on standard error: a bar on a terminal, a line now and then in a pipe."""

    def __init__(self) -> None:
        self._told = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, text: str) -> None:
        """Print what begins."""
        typer.echo(text, err=True)

    def rows(self, done: int, total: int | None) -> None:
        """Show how many rows are done."""
        if sys.stderr.isatty():
            self._move(done, total)
        elif time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            typer.echo(f"tokenising: {_rows(done, total)}", err=True)

    def _move(self, done: int, total: int | None) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            from llmctl.cli.console import console

            self._bar = Progress(
                TextColumn("tokenising"),
                BarColumn(bar_width=30),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, completed=done, total=total, description=_rows(done, total))


def _rows(done: int, total: int | None) -> str:
    return f"{done:,} rows" if total is None else f"{done:,} of {total:,} rows"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(prepare)
