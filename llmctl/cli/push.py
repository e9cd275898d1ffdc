"""`llmctl push`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from llmctl.workflows.push import Arrival, Push, Step


def push(
    path: Path = typer.Argument(..., help="A file or folder on this machine."),
    where: list[str] = typer.Argument(..., metavar="RECIPE|NODES...", help="A recipe, or nodes like node[1-4]."),
    to: str | None = typer.Option(None, metavar="REMOTE", help="Its place there; with / at the end, inside of it."),
    replace: bool = typer.Option(False, "--replace", help="Drop what else lies in that folder."),
    verify: bool = typer.Option(False, "--verify", help="Read again what lies there, whatever its time says."),
    rsync: bool = typer.Option(True, "--rsync/--no-rsync", help="Use rsync between machines that have it."),
    user: str | None = typer.Option(None, help="Login name on the nodes."),
    port: int | None = typer.Option(None, min=1, max=65535, help="SSH port of the nodes."),
    as_json: bool = typer.Option(False, "--json", help="The result as JSON."),
) -> None:
    """Bring weights or data to all nodes, each byte over this machine's link once, each file verified."""
    from llmctl.workflows.push import Wish, push_words

    with Board() as board:
        wish = Wish(user=user, port=port, replace=replace, verify=verify, rsync=rsync, tell=board.tell)
        result = push_words(path, where, to, wish)
    typer.echo(json.dumps(_as_json(result), indent=2, ensure_ascii=False) if as_json else _as_text(result))
    for arrival in result.arrivals:
        if arrival.error is not None:
            typer.echo(f"llmctl: {arrival.error}", err=True)
    raise typer.Exit(int(result.exit_code))


SURE = 2.0
"""Seconds after which a rate says something about the rest."""


class Board:
    """Progress on standard error: one living line on a terminal, a line now and then in a pipe."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._begun: dict[str, float] = {}
        self._live = sys.stderr.isatty()
        self._shown = time.monotonic()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._steps:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def tell(self, step: Step) -> None:
        """Note a step; show it when it is time."""
        before = self._steps.get(step.node)
        now = time.monotonic()
        if before is None or (before.phase, before.source) != (step.phase, step.source):
            self._begun[step.node] = now
        self._steps[step.node] = step
        if now - self._shown < (0.3 if self._live else 10.0):
            return
        self._shown = now
        active = [each for each in list(self._steps.values()) if each.phase != "idle"]
        words = [self._words(s, now) for s in active]
        if self._live:
            sys.stderr.write("\r\x1b[K" + "; ".join(words)[:140])
            sys.stderr.flush()
        elif words:
            typer.echo("... " + "; ".join(words), err=True)

    def _words(self, step: Step, now: float) -> str:
        """Bytes, rate and the rest of one node."""
        spent = now - self._begun[step.node]
        rate = step.done / max(0.1, spent)
        of = "" if step.total is None else f" of {size(step.total)}"
        left = ""
        if step.total is not None and spent > SURE and rate:
            seconds = int((step.total - step.done) / rate)
            left = f", {seconds // 60}:{seconds % 60:02} left"
        way = f"{step.source} -> {step.node}" if step.phase == "copying" else f"{step.node} {step.phase}"
        return f"{way} {size(step.done)}{of}, {size(rate)}/s{left}"


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def _as_json(result: Push) -> dict[str, Any]:
    return {
        "schema": 1,
        "bytes": result.parcel.size,
        "files": len(result.parcel.files),
        "sha256": result.parcel.digest,
        "launcher_bytes": result.from_launcher,
        "nodes": [_arrival(arrival) for arrival in result.arrivals],
        "exit_code": int(result.exit_code),
    }


def _arrival(arrival: Arrival) -> dict[str, Any]:
    return {
        "name": arrival.node,
        "state": arrival.state,
        "path": arrival.path,
        "from": arrival.source,
        "copied": arrival.copied,
        "seconds": round(arrival.seconds, 3),
        "notes": arrival.notes,
        "error": None if arrival.error is None else str(arrival.error),
    }


def _as_text(result: Push) -> str:
    lines = []
    for arrival in result.arrivals:
        state: str = arrival.state
        if arrival.error is not None:
            state = f"FAILED: {arrival.error.what}"
        elif arrival.state == "copied":
            state = f"{size(arrival.copied)} from {arrival.source} in {arrival.seconds:.1f} s, verified"
        elif arrival.state == "shared":
            state = f"is the same folder as on {arrival.source}"
        lines.append(f"{arrival.node}:{arrival.path}: {state}")
        lines += [f"  note: {note}" for note in arrival.notes]
    parcel = result.parcel
    count = f"{len(parcel.files)} file{'' if len(parcel.files) == 1 else 's'}"
    good = sum(arrival.error is None for arrival in result.arrivals)
    sent = f"{size(result.from_launcher)} left this machine"
    if result.interrupted:  # what was under way is not counted by then
        sent = "stopped, what has come stays there for the next push"
    lines.append(f"{good} of {len(result.arrivals)} nodes have the {count}, {size(parcel.size)}; {sent}")
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("push")(push)
