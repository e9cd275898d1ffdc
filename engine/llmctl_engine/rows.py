"""The datasets of a run to samples, with what is broken about them. Standard library only where the files need no more:
the launcher looks at its own files with it before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from llmctl_engine import files, mixing
from llmctl_engine.shapes import SHAPES, STAGES
from llmctl_engine.sources import Source
from llmctl_engine.turns import Sample

_SURROGATE = re.compile("[\ud800-\udfff]")
_PLACEHOLDER = re.compile(r"\{\{ ?(\w+) ?\}\}")


@dataclass(frozen=True, kw_only=True)
class BrokenRow:
    """A row that cannot be trained on."""

    dataset: str
    row: int
    reason: str


@dataclass
class Counted:
    """How many rows, and the places of the first of them."""

    rows: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """One row more."""
        self.rows += 1
        if self.rows <= SHOWN:
            self.first.append(place)

    def told(self) -> str:
        """As in `7 rows (d row 2, d row 8, ...)`."""
        more = ", ..." if self.rows > len(self.first) else ""
        return f"{self.rows:,} {'row' if self.rows == 1 else 'rows'} ({', '.join(self.first)}{more})"


SHOWN = 5
"""So many places are told of each complaint."""


class _Train(Protocol):
    @property
    def stage(self) -> str: ...

    @property
    def seed(self) -> int: ...


class _Data(Protocol):
    @property
    def max_samples(self) -> int | None: ...

    @property
    def mix(self) -> str: ...

    @property
    def probabilities(self) -> Sequence[float]: ...

    @property
    def fill(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rows a run takes, and in which order."""

    stage: str = "sft"
    max_samples: int | None = None
    """At most so many rows of each dataset, the first ones."""
    mix: str = "concat"
    probabilities: Sequence[float] = ()
    seed: int = 42
    fill: Mapping[str, str] = field(default_factory=dict)
    """What stands for `{{name}}` in every text, by the name."""

    @classmethod
    def of(cls, train: _Train, data: _Data) -> Wanted:
        """What the sections `train` and `data` want, of a recipe or of the engine's input."""
        return cls(
            stage=train.stage,
            max_samples=data.max_samples,
            mix=data.mix,
            probabilities=data.probabilities,
            seed=train.seed,
            fill=data.fill,
        )


Fetch = Callable[[Source, int | None], Iterable[Any]]
"""Source, limit -> its first rows."""


@dataclass(frozen=True)
class Numbered:
    """A row as its file has it."""

    source: int
    """The number of its dataset, from 0."""
    number: int
    """From 1, as in the file."""
    row: Any


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All rows of a run's datasets. Only what was counted is held in memory; the rows are read when they are asked
    for."""

    found: Sequence[Source]
    wanted: Wanted
    fetch: Fetch | None
    lengths: tuple[int, ...]
    """Rows of each dataset that can be trained on."""
    broken: tuple[BrokenRow, ...]

    def __len__(self) -> int:
        """Rows that are trained on: those of datasets that are repeated count again."""
        return sum(1 for _ in self._order())

    def numbered(self) -> Iterator[Numbered]:
        """The rows in the order of the mix, without the broken ones."""
        readers = [self._forever(number) for number in range(len(self.found))]
        return (next(readers[number]) for number, _ in self._order())

    def samples(self) -> Iterator[Sample]:
        """The same, read."""
        for given in self.numbered():
            taken = shaped(given.row, self.found[given.source], given.number, self.wanted)
            if not isinstance(taken, Sample):  # the file was changed meanwhile
                raise ValueError(f"dataset {self.found[given.source].name}: row {given.number} has {taken}")
            yield taken

    def complaint(self) -> str:
        """The broken rows, see `complaint`."""
        return complaint(self.broken)

    def _order(self) -> Iterator[tuple[int, int]]:
        wanted = self.wanted
        return mixing.order(self.lengths, mix=wanted.mix, probabilities=wanted.probabilities, seed=wanted.seed)

    def _forever(self, source: int) -> Iterator[Numbered]:
        broken = {row.row for row in self.broken if row.dataset == self.found[source].name}
        while True:
            for number, row in enumerate(_load(self.found[source], self.wanted.max_samples, self.fetch), start=1):
                if number not in broken:
                    yield Numbered(source, number, row)


def complaint(broken_rows: Iterable[BrokenRow]) -> str:
    """Broken rows in one line for each dataset and reason, with the first row numbers."""
    groups: dict[tuple[str, str], list[int]] = {}
    for broken in broken_rows:
        groups.setdefault((broken.dataset, broken.reason), []).append(broken.row)
    return "; ".join(
        f"{name}: {len(rows):,} {'row' if len(rows) == 1 else 'rows'} with {reason} ({_first(rows)})"
        for (name, reason), rows in groups.items()
    )


def read(found: Sequence[Source], wanted: Wanted, fetch: Fetch | None = None) -> Rows:
    """Look at every row of all datasets; `fetch` reads those of the hub.

    Raises ValueError for a file that is no list of rows, a dataset of which the stage can make nothing, and one of the
    hub without `fetch`; OSError for a file that cannot be read."""
    lengths: list[int] = []
    broken: list[BrokenRow] = []
    for source in found:
        _check_kind(source, STAGES[wanted.stage], wanted.stage)
        lengths.append(0)
        for number, row in enumerate(_load(source, wanted.max_samples, fetch), start=1):
            sample = shaped(row, source, number, wanted)
            if isinstance(sample, str):
                broken.append(BrokenRow(dataset=source.name, row=number, reason=sample))
            else:
                lengths[-1] += 1
    rows = Rows(found=found, wanted=wanted, fetch=fetch, lengths=tuple(lengths), broken=tuple(broken))
    next(rows._order(), None)  # raises for a dataset without rows that cannot be interleaved
    return rows


def in_order(found: Sequence[Source], wanted: Wanted, fetch: Fetch | None = None) -> Iterator[Numbered]:
    """Every row of all datasets, one after the other, the broken ones too. Raises as `read`, when it gets there."""
    for number, source in enumerate(found):
        _check_kind(source, STAGES[wanted.stage], wanted.stage)
        for row, content in enumerate(_load(source, wanted.max_samples, fetch), start=1):
            yield Numbered(number, row, content)


def shaped(row: Any, source: Source, number: int, wanted: Wanted) -> Sample | str:
    """A row of a file as a sample with its placeholders filled, or what is wrong with it, in words that follow `rows
    with`."""
    sample = "no JSON" if row is files.NO_JSON else SHAPES[STAGES[wanted.stage]](row, source, number)
    if isinstance(sample, str):
        return sample
    if any(not text.isascii() and _SURROGATE.search(text) for text in sample.texts()):
        return "text that is no Unicode (a half of a surrogate pair)"
    return sample.rewritten(lambda text: _filled(text, wanted.fill)) if wanted.fill else sample


def _load(source: Source, max_samples: int | None, fetch: Fetch | None) -> Iterator[Any]:
    limit = min((bound for bound in (max_samples, source.limit) if bound is not None), default=None)
    if source.hub is None:
        return files.load(source, limit)
    if fetch is None:
        raise ValueError(f"dataset {source.name}: lies on the hub only, as {source.hub}")
    return islice(fetch(source, limit), limit)


def _check_kind(source: Source, kind: str, stage: str) -> None:
    held = "pairs" if source.ranking else "judged" if source.columns["kto_tag"] else "answers"
    if kind not in ("text", held):
        words = {
            "pairs": "pairs of a better and a worse answer",
            "judged": "judged answers",
            "answers": "plain answers",
        }
        raise ValueError(f"dataset {source.name}: holds {words[held]}, and stage {stage} trains on {words[kind]}")


def _filled(text: str, fill: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: fill.get(match[1], match[0]), text)


def left(sample: Sample) -> set[str]:
    """The names of `{{name}}` that nothing filled in."""
    return {name for text in sample.texts() if "{{" in text for name in _PLACEHOLDER.findall(text)}


def _first(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:5]))}{', ...' if len(numbers) > 5 else ''}"
