"""`llmctl status`, once or as a dashboard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmctl.workflows.status import RunStatus


def status(
    run: str | None = typer.Argument(None, help="A run id, its beginning, or a run folder; default: the newest."),
    watch: bool = typer.Option(
        False, "--watch", "-w", help="Go on until the run has ended; in a terminal, a dashboard."
    ),
    runs: Path | None = typer.Option(None, help="Where runs lie, besides those of the index."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
) -> None:
    """Ask the nodes how a run stands.

    A run that has ended meanwhile is collected."""
    from llmctl.cli.watching import PlainWatcher
    from llmctl.errors import UsageError
    from llmctl.workflows.status import status as ask
    from llmctl.workflows.status import watched

    if watch and as_json:
        raise UsageError("--watch draws for people", hint="llmctl status --json, again and again")
    if watch and not (_draw if sys.stdout.isatty() else _tell_changes)(watched(run, runs=runs)):
        return
    asked = ask(run, runs=runs, watcher=PlainWatcher())
    if as_json:
        typer.echo(json.dumps(_plain(asked), ensure_ascii=False, indent=2))
    else:
        _show(asked)
    for error in asked.errors.values():
        typer.echo(f"llmctl: {error}", err=True)
    if asked.errors:
        raise typer.Exit(5)


def _draw(statuses: Iterator[RunStatus]) -> bool:
    """The dashboard, until the run ends or somebody leaves; whether it ended."""
    from rich.live import Live

    from llmctl.cli.console import console
    from llmctl.cli.dashboard import dashboard

    screen = console()
    try:
        with _keys() as pressed, Live(console=screen, screen=True, auto_refresh=False) as live:
            for each in statuses:
                size = screen.size
                live.update(dashboard(each, now=time.time(), width=size.width, height=size.height), refresh=True)
                if "q" in pressed():
                    return False
    except KeyboardInterrupt:
        return False
    return True


def _tell_changes(statuses: Iterable[RunStatus]) -> bool:
    """Plain lines of what changes, until the run ends."""
    from llmctl.cli.changes import changes
    from llmctl.cli.watching import EVERY, progress_line

    before, told = None, time.monotonic()
    try:
        for each in statuses:
            for line in changes(before, each, time.time()):
                typer.echo(line)
            before = each
            if each.progress.step and time.monotonic() - told >= EVERY:
                told = time.monotonic()
                typer.echo(progress_line(each.progress))
    except KeyboardInterrupt:
        return False
    return True


@contextmanager
def _keys() -> Iterator[Any]:
    """Gives a function that tells the keys pressed since it was called last; none where standard input is no
    terminal."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    import os
    import select
    import termios
    import tty

    place = sys.stdin.fileno()
    before = termios.tcgetattr(place)

    def pressed() -> str:
        return os.read(place, 64).decode("utf-8", "replace") if select.select([place], [], [], 0)[0] else ""

    try:
        tty.setcbreak(place)
        yield pressed
    finally:
        termios.tcsetattr(place, termios.TCSADRAIN, before)


def _show(asked: RunStatus) -> None:
    from llmctl.cli.console import table
    from llmctl.cli.failing import show_failure
    from llmctl.cli.run_table import HEADINGS, rows
    from llmctl.cli.watching import progress_line

    lost = f", with {', '.join(asked.lost)}" if asked.lost else ""
    typer.echo(f"{asked.folder.run_id}: {asked.state}{lost}")
    if asked.progress.total_steps:
        typer.echo(progress_line(asked.progress))
    for attempt in asked.attempts if len(asked.attempts) > 1 else ():
        typer.echo(attempt.line())
    table(HEADINGS, rows(asked, time.time()))
    if asked.failure is not None:
        show_failure(asked.failure)
    what = "weights" if asked.state == "SUCCEEDED" else "output"
    typer.echo(f"records: {asked.folder.root}\n{what}: {asked.manifest['output']}")


def _plain(asked: RunStatus) -> dict[str, Any]:
    now = time.time()
    return {
        "run": asked.folder.run_id,
        "state": str(asked.state),
        "folder": str(asked.folder.root),
        "output": asked.manifest["output"],
        "step": asked.progress.step,
        "total_steps": asked.progress.total_steps,
        "loss": asked.progress.loss,
        "tokens_per_second": asked.progress.tokens_per_second,
        "seconds_left": asked.progress.seconds_left,
        "nodes": [
            {
                "node": name,
                "answers": name not in asked.errors,
                "answered_seconds_ago": None if seen.answered is None else round(now - seen.answered, 1),
                "state": seen.state,
                "exit_code": seen.exit_code,
                "heartbeat": seen.heartbeat,
                "step": seen.step,
                "loss": seen.loss,
                "memory_mb": seen.memory_mb,
                "devices": list(seen.devices),
            }
            for name, seen in asked.nodes.items()
        ],
        "attempts": list(asked.manifest.get("attempts", ())),
        "errors": {name: str(error) for name, error in asked.errors.items()},
        "failure": vars(asked.failure) if asked.failure else None,
        "lost": list(asked.lost),
    }


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(status)
