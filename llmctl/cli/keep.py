"""`llmctl keep`: what `run --detach` leaves in the background."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from llmctl.run.records import Progress


class KeeperLog:
    """A watcher that writes down what happens, and nothing of the ranks' output: that lies in their logs."""

    def lines(self, label: str, text: str) -> None:
        """Nothing."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """A remark with its time; a full disk here is no reason to leave the run alone."""
        with suppress(OSError):
            print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)  # noqa: T201


def keep(run: Path = typer.Argument(help="A run folder.")) -> None:
    """Follow a run to its end without anybody watching, and do what a failure asks for."""
    from llmctl.run.folder import RunFolder
    from llmctl.workflows.keeping import keep_alone

    log = KeeperLog()
    log.note("keeping the run")
    ending = keep_alone(RunFolder(run), log)
    log.note("another process acts for the run" if ending is None else str(ending.state))


def register(app: typer.Typer) -> None:
    """Add the command of this module; people start it by `run --detach`."""
    app.command(hidden=True)(keep)
