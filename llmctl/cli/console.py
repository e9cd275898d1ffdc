"""How tables look on a terminal and in a pipe. Imports rich only when something is printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or error; in a pipe without colour and without a right margin."""
    from rich.console import Console

    class Told(Console):
        def on_broken_pipe(self) -> None:
            """Left to `run_guarded`; rich itself would end the process with exit code 1."""
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Told(stderr=stderr, highlight=False, width=width, soft_wrap=not stream.isatty())


def made_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> Table:
    """A plain table; cells are text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(*headings, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print such a table."""
    console().print(made_table(headings, rows, title=title))
