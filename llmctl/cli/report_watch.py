"""`llmctl report --watch`: drawn again and again on a terminal, a block for each change in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from llmctl.cli.report_shown import show

if TYPE_CHECKING:
    from llmctl_reports.tables import Table
    from rich.console import RenderableType

    from llmctl.workflows.report import Report
    from llmctl.workflows.report_watch import Glance

LEAVE = "Ctrl-C leaves; the run goes on"


def watch(glances: Iterator[Glance], lang: str) -> Report | None:
    """Show each glance; the last report when the run has ended, None when somebody left before."""
    try:
        for glance in (_drawn if sys.stdout.isatty() else _told)(glances, lang):
            if glance.ended:
                return glance.report
    except KeyboardInterrupt:
        pass
    return None


def _drawn(glances: Iterator[Glance], lang: str) -> Iterator[Glance]:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from llmctl.cli.console import console

    with Live(Text("reading"), console=console(), auto_refresh=False) as live:
        for glance in glances:
            shown = [] if glance.ended else [*_parts(glance, lang), LEAVE]
            live.update(Group(*map(_drawable, shown)), refresh=True)
            yield glance


def _told(glances: Iterator[Glance], lang: str) -> Iterator[Glance]:
    before: list[Table | str] = []
    for glance in glances:
        now = _parts(glance, lang)
        if now != before and not glance.ended:
            before = now
            show(now)
            typer.echo("")
            sys.stdout.flush()
        yield glance


def _parts(glance: Glance, lang: str) -> list[Table | str]:
    if glance.report is None:
        return [f"waiting: {glance.waiting}"]
    points, title = glance.report.run.points, glance.report.title
    head = f"{title}: step {points.step[-1]}, loss {points.loss[-1]:.4f}" if len(points) else f"{title}: no step yet"
    return [head, *glance.report.shown(lang)]


def _drawable(part: Table | str) -> RenderableType:
    from rich.text import Text

    from llmctl.cli.console import made_table

    return Text(part) if isinstance(part, str) else made_table(part.headings, part.rows)
