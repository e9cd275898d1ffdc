"""The terminal dashboard of a run: a value in, something that rich can draw out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llmctl.cli.run_table import HEADINGS, UNKNOWN, rows
from llmctl.cli.watching import progress_line

if TYPE_CHECKING:
    from llmctl.workflows.status import RunStatus

BARS = "▁▂▃▄▅▆▇█"
COLOURS = {
    "RUNNING": "green",
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "LOST": "bold red",
    "CANCELLED": "yellow",
}
AROUND = 8
"""Lines besides those of nodes and logs."""
LOG_LINES = 5
"""Log lines that have a place even beside many nodes."""


def dashboard(status: RunStatus, *, now: float, width: int, height: int) -> RenderableType:
    """All of a run on one screen of `width` columns and `height` lines; `now` in Unix seconds. Where not all nodes have
    a place, those in trouble come first and the rest is counted."""
    head = Text.assemble((status.folder.run_id, "bold"), "  ", _coloured(str(status.state)))
    if len(status.attempts) > 1:
        head.append(f"  attempt {len(status.attempts)}", "yellow")
    where = progress_line(status.progress) if status.progress.step else "waiting for the first step"
    parts: list[RenderableType] = [head, Text(where, no_wrap=True, overflow="ellipsis")]
    losses = [loss for _, loss in status.progress.losses]
    if len(losses) > 1:
        drawn = sparkline(losses, max(10, min(60, width - 28)))
        parts.append(Text.assemble("loss ", (drawn, "cyan"), f" {losses[0]:.4f} to {losses[-1]:.4f}"))
    body = rows(status, now)
    places = max(3, height - AROUND - LOG_LINES)
    if len(body) > places:
        body.sort(key=lambda cells: cells[1] == "RUNNING")  # stable: the order of the ranks stays
    parts += ["", _table(body[:places])]
    if body[places:]:
        parts.append(Text(f"and {len(body) - places} more: {_counted(body[places:])}", style="dim"))
    parts.append("")
    left = max(LOG_LINES, height - AROUND - min(len(body), places))
    for label, line in list(status.lines)[-left:]:
        parts.append(Text.assemble((f"[{label}] ", "dim"), line, no_wrap=True, overflow="ellipsis"))
    parts.append(Text("q or Ctrl-C leaves; the run goes on", style="dim"))
    return Group(*parts)


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` bars, each the mean of the values below it; a value that is no number leaves a gap."""
    width = min(width, len(values))
    bounds = [round(i * len(values) / width) for i in range(width + 1)]
    finite = [[value for value in values[a:b] if abs(value) < float("inf")] for a, b in pairwise(bounds)]
    means = [sum(each) / len(each) if each else None for each in finite]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    top = len(BARS) - 1
    return "".join(
        " " if mean is None else BARS[round((mean - low) / (high - low) * top) if high > low else 0] for mean in means
    )


def _table(body: Sequence[Sequence[str]]) -> Table:
    shown = [i for i, heading in enumerate(HEADINGS) if heading in _ALWAYS or any(row[i] != UNKNOWN for row in body)]
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for i in shown:
        made.add_column(HEADINGS[i], no_wrap=True, overflow="ellipsis", justify="left" if i < 2 else "right")
    for cells in body:
        made.add_row(*(_coloured(cells[i]) if HEADINGS[i] == "state" else Text(cells[i]) for i in shown))
    return made


_ALWAYS = ("node", "state", "step", "loss", "heard")


def _coloured(state: str) -> Text:
    return Text(state, style=COLOURS.get(state, "red" if state.startswith("no ") else ""))


def _counted(body: Sequence[Sequence[str]]) -> str:
    states = [cells[1] for cells in body]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
