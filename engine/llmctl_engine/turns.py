"""What a conversation is. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple


class Turn(NamedTuple):
    """What was said to the model, and its answer."""

    query: str
    answer: str
    observed: bool = False
    """The query is what a tool gave back."""
    calls: bool = False
    """The answer is JSON: one function call `{"name": ..., "arguments": ...}` or a list of them."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row of a dataset. Plain text for `pt` is in `text`, everything else in `turns`."""

    dataset: str
    row: int
    """From 1, as in the file."""
    turns: tuple[Turn, ...] = ()
    system: str = ""
    tools: str = ""
    """The JSON list of the tools that the model may call."""
    text: str = ""
    rejected: str | None = None
    """Of a preference pair: the worse answer to the last query; the better one is the last turn's answer."""
    desired: bool | None = None
    """Of a judged answer: whether it was liked."""

    @property
    def place(self) -> str:
        """`dataset row N`."""
        return f"{self.dataset} row {self.row}"

    def texts(self) -> Iterator[str]:
        """Every text of the row."""
        yield from (self.text, self.system, *(text for turn in self.turns for text in turn[:2]), self.rejected or "")

    def rewritten(self, rewrite: Callable[[str], str]) -> Sample:
        """The row with every text but the tools rewritten."""
        return replace(
            self,
            turns=tuple(turn._replace(query=rewrite(turn.query), answer=rewrite(turn.answer)) for turn in self.turns),
            system=rewrite(self.system),
            text=rewrite(self.text),
            rejected=None if self.rejected is None else rewrite(self.rejected),
        )
