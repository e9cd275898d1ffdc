"""The datasets of a run to samples, with what is broken about them. Standard library only where the files need no more:
the launcher looks at its own files with it before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All rows of a run's datasets."""

    samples: tuple[Sample, ...]
    broken: tuple[BrokenRow, ...]
    placeholders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The places of rows with a `{{name}}` that nothing filled in, by the name."""

    def complaint(self) -> str:
        """The broken rows in one line for each dataset and reason, with the first row numbers."""
        groups: dict[tuple[str, str], list[int]] = {}
        for broken in self.broken:
            groups.setdefault((broken.dataset, broken.reason), []).append(broken.row)
        return "; ".join(
            f"{name}: {len(rows)} {'row' if len(rows) == 1 else 'rows'} with {reason} ({_first(rows)})"
            for (name, reason), rows in groups.items()
        )


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


Fetch = Callable[[Source, int | None], list[Any]]
"""Source, limit -> its first rows."""


def read(found: Sequence[Source], wanted: Wanted, fetch: Fetch | None = None) -> Rows:
    """The rows of all datasets, mixed; `fetch` reads those of the hub.

    Raises ValueError for a file that is no list of rows, a dataset of which the stage can make nothing, and one of the
    hub without `fetch`; OSError for a file that cannot be read."""
    kind = STAGES[wanted.stage]
    taken: list[list[Sample]] = []
    broken: list[BrokenRow] = []
    for source in found:
        _check_kind(source, kind, wanted.stage)
        samples: list[Sample] = []
        for number, row in enumerate(_load(source, wanted.max_samples, fetch), start=1):
            sample = "no JSON" if row is files.NO_JSON else SHAPES[kind](row, source, number)
            if isinstance(sample, Sample) and any(map(_SURROGATE.search, sample.texts())):
                sample = "text that is no Unicode (a half of a surrogate pair)"
            if isinstance(sample, str):
                broken.append(BrokenRow(dataset=source.name, row=number, reason=sample))
            else:
                samples.append(sample.rewritten(lambda text: _filled(text, wanted.fill)) if wanted.fill else sample)
        taken.append(samples)
    lengths = [len(samples) for samples in taken]
    placed = mixing.order(lengths, mix=wanted.mix, probabilities=wanted.probabilities, seed=wanted.seed)
    return Rows(
        samples=tuple(taken[number][row] for number, row in placed),
        broken=tuple(broken),
        placeholders=_left(taken),
    )


def _load(source: Source, max_samples: int | None, fetch: Fetch | None) -> list[Any]:
    limit = min((bound for bound in (max_samples, source.limit) if bound is not None), default=None)
    if source.hub is None:
        return files.load(source, limit)
    if fetch is None:
        raise ValueError(f"dataset {source.name}: lies on the hub only, as {source.hub}")
    return fetch(source, limit)


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


def _left(taken: Sequence[Sequence[Sample]]) -> dict[str, tuple[str, ...]]:
    places: dict[str, dict[str, None]] = {}
    for samples in taken:
        for sample in samples:
            for text in sample.texts():
                for name in _PLACEHOLDER.findall(text) if "{{" in text else ():
                    places.setdefault(name, {})[sample.place] = None
    return {name: tuple(rows) for name, rows in places.items()}


def _first(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:5]))}{', ...' if len(numbers) > 5 else ''}"
