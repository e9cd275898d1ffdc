"""A living line on standard error for work of which nobody knows how long it takes; nothing of it in a pipe."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from llmctl.workflows.far import FarPath

AFTER = 2.0
"""Seconds of silence."""


class Patience:
    """Shows that something goes on, once it has taken a while."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def moved(self, far: FarPath, done: int, total: int) -> None:
        """What is brought from another machine, and how much of it is here."""
        self._what = f"{far.given}: {done / 1e6:.1f} of {total / 1e6:.1f} MB" if done < total else "reading"

    def _show(self) -> None:
        if self._stop.wait(AFTER):
            return
        from llmctl.cli.console import console

        with console(stderr=True).status(self._what) as status:
            while not self._stop.wait(0.2):
                status.update(self._what)
