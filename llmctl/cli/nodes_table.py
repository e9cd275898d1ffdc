"""What is being done with each node, while it is done: a live table on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

MOST = 20
"""Nodes that are shown one by one; more are counted."""


@contextmanager
def watching(*, quiet: bool) -> Iterator[Callable[[str, str], None]]:
    """A function (node, state) that keeps the table up to date; it is gone when the work is done."""
    if quiet or not sys.stderr.isatty():
        yield lambda _node, _state: None
        return
    from rich.console import Console
    from rich.live import Live

    states: dict[str, str] = {}
    with Live(console=Console(stderr=True), transient=True, refresh_per_second=8) as live:

        def watch(node: str, state: str) -> None:
            states[node] = state
            live.update(_table(states))

        yield watch


def _table(states: dict[str, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from llmctl.checks.folding import fold

    table = Table.grid(padding=(0, 2))
    if len(states) <= MOST:
        rows = list(states.items())
    else:
        groups: dict[str, list[str]] = {}
        for node, state in states.items():
            groups.setdefault(state, []).append(node)
        rows = [(fold(nodes), state) for state, nodes in groups.items()]
    for node, state in rows:
        table.add_row(Text(node), Text(state))
    return table
