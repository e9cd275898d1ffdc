"""Ctrl-C and signals to a command that starts or watches a run: while it starts, the first one stops and cleans; while
it runs, the first one leaves it and a second one ends it. Never a traceback, never half a clean-up."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

import typer

from llmctl.cli.ending import assert_ended, tell_ending, tell_follow_up
from llmctl.cli.pipes import mute

if TYPE_CHECKING:
    from llmctl.cli.watching import PlainWatcher
    from llmctl.run.folder import RunFolder
    from llmctl.workflows.watching import Ending

SECOND_CHANCE = 3.0
"""Seconds after a first Ctrl-C in which a second one cancels the run."""
OTHERS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that leave a run at once: nobody is there to be asked."""

Handler = Callable[[int, FrameType | None], None]


class Dismissed(KeyboardInterrupt):
    """SIGTERM or SIGHUP."""


@contextmanager
def starting() -> Iterator[None]:
    """For the time until the processes are started. Raises Interrupted after the first Ctrl-C, SIGTERM or SIGHUP, when
    everything is cleaned; whoever is impatient meanwhile is asked to wait."""
    from llmctl.errors import Interrupted

    def first(_signum: int, _frame: FrameType | None) -> None:
        _listen(_wait)
        _say("stopping: what was begun on the nodes is cleaned up")
        raise KeyboardInterrupt

    with _handled(first, (signal.SIGINT, *OTHERS)):
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted("stopped before the start; nothing of it is left running") from None


def watch(folder: RunFolder, watcher: PlainWatcher, follow: Callable[[], Ending]) -> None:
    """Follow a run with `follow` and tell its end; Ctrl-C once leaves it, twice cancels it. SIGTERM, SIGHUP and a
    reader of the output that goes away leave it too. Raises what `tell_ending` raises."""
    try:
        if watcher.unread:
            raise BrokenPipeError
        with _handled(_dismiss, OTHERS), watcher:
            ending = follow()
    except Dismissed:
        _leave(folder)
    except KeyboardInterrupt:
        _second_chance(folder, watcher)
    except BrokenPipeError:
        mute(sys.stdout)
        _say("nobody reads the output any more")
        tell_follow_up(folder, err=True)
    else:
        tell_ending(folder, ending)


def _second_chance(folder: RunFolder, watcher: PlainWatcher) -> None:
    """After the first Ctrl-C: the run goes on, unless a second one follows."""
    try:
        with _handled(_dismiss, OTHERS):
            typer.echo(f"\nCtrl-C: the run goes on without you. Once more within {SECOND_CHANCE:.0f} s ends it.")
            time.sleep(SECOND_CHANCE)
    except Dismissed:
        _leave(folder)
    except KeyboardInterrupt:
        with _handled(_wait, (signal.SIGINT, *OTHERS)):
            _end(folder, watcher)
    else:
        tell_follow_up(folder)


def _end(folder: RunFolder, watcher: PlainWatcher) -> None:
    from llmctl.errors import Interrupted
    from llmctl.workflows.lifecycle import cancel

    typer.echo("\nending it on all nodes")
    _, outcomes = cancel(str(folder.root), runs=None, watcher=watcher)
    assert_ended(folder, outcomes)
    raise Interrupted(f"{folder.run_id} was cancelled", hint=f"llmctl run --resume {folder.run_id}") from None


def _leave(folder: RunFolder) -> None:
    with suppress(OSError):  # after SIGHUP there may be no terminal to tell it to
        tell_follow_up(folder)


def _dismiss(_signum: int, _frame: FrameType | None) -> None:
    raise Dismissed


def _wait(_signum: int, _frame: FrameType | None) -> None:
    _say("a moment, it is being cleaned up")


def _say(text: str) -> None:
    with suppress(OSError):
        typer.echo(text, err=True)


def _listen(handler: Handler) -> None:
    for signum in (signal.SIGINT, *OTHERS):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, handler)


@contextmanager
def _handled(handler: Handler, signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, *OTHERS)}
    try:
        for signum in signals:
            if before[signum] is not signal.SIG_IGN:  # as under nohup
                signal.signal(signum, handler)
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)
