"""How a run looks while it is watched: a bar and labelled lines on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from llmctl.cli.pipes import mute

if TYPE_CHECKING:
    from llmctl.checks.facts import Finding
    from llmctl.run.records import Progress

EVERY = 10.0
"""Seconds between two progress lines in a pipe."""
WAITING = "waiting for the first step"


def clock(seconds: float | None) -> str:
    """`1:02:03` or `2:03`; `-` when not known."""
    if seconds is None:
        return "-"
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def progress_line(progress: Progress) -> str:
    """One line: step, loss, speed, and while it goes on the time left."""
    loss = "-" if progress.loss is None else f"{progress.loss:.4f}"
    speed = "-" if progress.tokens_per_second is None else f"{progress.tokens_per_second:,.0f}"
    line = f"step {progress.step}/{progress.total_steps}  loss {loss}  {speed} tokens/s"
    return line if progress.ended else f"{line}  {clock(progress.seconds_left)} left"


class PlainWatcher:
    """Every line as it comes, with the node and rank it is of; now and then where the run stands."""

    def __init__(self) -> None:
        self._told = time.monotonic()
        self.unread = False
        """Whoever read the output went away while the run was being started, which goes on all the same."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def lines(self, label: str, text: str) -> None:
        """Print the lines of one log."""
        for line in text.splitlines():
            print(f"[{label}] {line}", flush=True)  # noqa: T201

    def progress(self, progress: Progress) -> None:
        """Print where the run stands, not too often."""
        if progress.ended or (progress.total_steps and time.monotonic() - self._told >= EVERY):
            self._told = time.monotonic()
            print(progress_line(progress), flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """Print a remark on standard error."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def step(self, text: str) -> None:
        """Print what begins, in one piece: several nodes tell at once."""
        with self._unread():
            print(text + "\n", end="", flush=True)  # noqa: T201

    def findings(self, findings: Sequence[Finding]) -> None:
        """Print what the check found."""
        from llmctl.cli.findings import show_findings

        with self._unread():
            show_findings(findings)

    @contextmanager
    def _unread(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.unread = True
            mute(sys.stdout)


class TerminalWatcher(PlainWatcher):
    """As in a pipe, with a bar below the lines; it says `first` until it is known where the run stands."""

    def __init__(self, first: str) -> None:
        super().__init__()
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        from llmctl.cli.console import console

        self._console = console()
        self._bar = Bar(
            BarColumn(bar_width=30), TextColumn("{task.description}"), console=self._console, transient=True
        )
        self._task = self._bar.add_task(first, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def lines(self, label: str, text: str) -> None:
        """Print the lines of one log above the bar."""
        from rich.text import Text

        for line in text.splitlines():
            self._console.print(Text(f"[{label}] ", style="dim") + Text(line))

    def progress(self, progress: Progress) -> None:
        """Move the bar."""
        self._bar.update(
            self._task,
            total=progress.total_steps or None,
            completed=progress.step,
            description=progress_line(progress) if progress.step else WAITING,
        )

    def note(self, text: str) -> None:
        """Print a remark above the bar."""
        from rich.text import Text

        self._console.print(Text(text, style="yellow"))

    def step(self, text: str) -> None:
        """Show what begins, above the bar."""
        self._console.print(text, markup=False)


def make_watcher(first: str = WAITING) -> PlainWatcher:
    """The watcher that fits standard output; a bar says `first` until it is known where the run stands."""
    return TerminalWatcher(first) if sys.stdout.isatty() else PlainWatcher()
