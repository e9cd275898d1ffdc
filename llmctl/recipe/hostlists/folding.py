"""Names in a row folded into ranges, the order kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)", re.ASCII)


@dataclass(frozen=True)
class Run:
    """Names that count up: `before`, the numbers from `low` to `high` (text, with their zeros), `after`. A name that
    is alone has no `high`."""

    before: str
    low: str = ""
    high: str = ""
    after: str = ""

    @property
    def alone(self) -> str | None:
        return None if self.high else self.before + self.low + self.after


def fold(names: Iterable[str]) -> Iterator[Run]:
    """The longest runs, in order: unfolding them gives the names again."""
    run: Run | None = None
    for name in names:
        if run is not None and _next(run) == name:
            run = Run(run.before, run.low, _numbered(name).low, run.after)
        else:
            if run is not None:
                yield run
            run = _numbered(name)
    if run is not None:
        yield run


def _numbered(name: str) -> Run:
    match = _NUMBERED.fullmatch(name)
    return Run(match[1], match[2], "", match[3]) if match else Run(name)


def _next(run: Run) -> str | None:
    """The name that would go on with the run."""
    if not run.low:
        return None
    last = run.high or run.low
    number = str(int(last) + 1)
    if run.low.startswith("0") and run.low != "0":  # padded: every number is as wide as the first
        number = number.zfill(len(run.low))
        if len(number) != len(run.low):
            return None
    return run.before + number + run.after
