"""The arithmetic of a published throughput table: samples/s, tokens/s/p and s/step of a row follow from one another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmctl_reports.errors import ReportError

COLUMNS = {"samples": "samples/s", "tokens": "tokens/s/p", "seconds": "s/step"}
"""A column is known by this in its heading; tokens/p/s is the same as tokens/s/p."""
CELL = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Printed:
    """A number as it was printed: rounded or cut, nobody knows."""

    text: str

    @property
    def value(self) -> float:
        """As it stands there."""
        return float(self.text.replace(",", ""))

    @property
    def bounds(self) -> tuple[float, float]:
        """What it may have been: half a digit less if it was rounded, a whole one more if it was cut."""
        unit = 10.0 ** -len(self.text.partition(".")[2])
        return self.value - unit / 2, self.value + unit


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row with at least two of the three numbers."""

    line: int
    name: str
    samples: Printed | None = None
    tokens: Printed | None = None
    seconds: Printed | None = None

    def samples_by_sequence(self) -> tuple[float, float] | None:
        """Bounds of tokens/s/p over samples/s, which is sequence length / devices."""
        return _ratio(self.tokens, self.samples)


@dataclass(frozen=True)
class Slip:
    """A row whose numbers contradict each other or the others' rows."""

    row: TableRow
    what: str


def table_rows(text: str) -> list[TableRow]:
    """The rows of all Markdown tables with these columns. Raises ReportError when there are none."""
    rows = list(_rows(text))
    if not rows:
        raise ReportError(
            "no table with throughputs",
            why=f"looked for Markdown tables with two of the columns {', '.join(COLUMNS.values())}",
            hint="give the README that holds the table",
        )
    return rows


def slips(rows: Sequence[TableRow], per_device: float | None = None) -> list[Slip]:
    """Rows whose tokens/s/p is not samples/s x `per_device` (sequence length / devices). Without it, the value that
    most rows share is taken, if more than half do and at least two; otherwise nothing can be said."""
    known = per_device or _shared(rows)
    found = []
    for row in rows:
        bounds = row.samples_by_sequence()
        if known is None or bounds is None or row.samples is None or row.tokens is None:
            continue
        if not bounds[0] <= known <= bounds[1]:
            wanted = row.samples.value * known
            told = f"{row.samples.text} samples/s x {known:g} tokens a sample and device = {wanted:.0f} tokens/s/p"
            found.append(Slip(row, f"{told}, the table says {row.tokens.text}"))
    return found


def _shared(rows: Sequence[TableRow]) -> float | None:
    """Sequence length / devices of most rows: a power of two, or a multiple of 64 of it, as both are."""
    votes: Counter[float] = Counter()
    voters = [bounds for row in rows if (bounds := row.samples_by_sequence())]
    for low, high in voters:
        votes.update(each for each in _likely() if low <= each <= high)
    if not votes:
        return None
    value, count = max(votes.items(), key=lambda pair: (pair[1], -pair[0]))
    return value if count >= 2 and 2 * count > len(voters) else None


def _likely() -> Iterator[float]:
    """Every length of 512 tokens and its multiples up to 128 Ki, over 1 to 1024 devices by powers of two."""
    yield from sorted({512 * 2**k / 2**d for k in range(9) for d in range(11)})


def _ratio(upper: Printed | None, lower: Printed | None) -> tuple[float, float] | None:
    if upper is None or lower is None or lower.bounds[0] <= 0:
        return None
    return upper.bounds[0] / lower.bounds[1], upper.bounds[1] / lower.bounds[0]


def _rows(text: str) -> Iterator[TableRow]:
    places: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.count("|") > 1 else []
        if not cells:
            places = {}
            continue
        headings = [cell.lower().replace("tokens/p/s", "tokens/s/p").replace(" ", "") for cell in cells]
        named = {name: i for name, mark in COLUMNS.items() for i, cell in enumerate(headings) if mark in cell}
        if len(named) > 1:
            places = named
            continue
        values = {
            name: Printed(match[0])
            for name, place in places.items()
            if place < len(cells) and (match := CELL.search(cells[place]))
        }
        if len(values) > 1:
            yield TableRow(line=number, name=" ".join(cells[:2]), **values)
