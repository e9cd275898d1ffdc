"""Dataset files to conversations and texts. Standard library only: the launcher looks at its own files with it before
anything is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".json", ".jsonl", ".txt")
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "history": "history", "system": "system"}
"""Alpaca's column names; `columns` of dataset_info.json gives others."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One dataset: its file and the names of its columns."""

    name: str
    path: Path
    columns: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row. `turns` are (query, answer) pairs; plain text for `pt` is in `text`."""

    dataset: str
    row: int
    """From 1, as in the file."""
    turns: tuple[tuple[str, str], ...] = ()
    system: str = ""
    text: str = ""


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

    def complaint(self) -> str:
        """The broken rows in one line for each dataset and reason, with the first row numbers."""
        groups: dict[tuple[str, str], list[int]] = {}
        for broken in self.broken:
            groups.setdefault((broken.dataset, broken.reason), []).append(broken.row)
        return "; ".join(
            f"{name}: {len(rows)} {'row' if len(rows) == 1 else 'rows'} with {reason} "
            f"({', '.join(map(str, rows[:5]))}{', ...' if len(rows) > 5 else ''})"
            for (name, reason), rows in groups.items()
        )


def sources(folder: Path, names: tuple[str, ...]) -> list[Source]:
    """The files of the named datasets: those of `dataset_info.json`, else NAME.json, NAME.jsonl or NAME.txt.

    Raises ValueError for a dataset that is not there or that this reader cannot read."""
    info_file = folder / "dataset_info.json"
    info = json.loads(info_file.read_text(encoding="utf-8")) if info_file.is_file() else {}
    if not isinstance(info, dict):
        raise ValueError(f"{info_file}: must map dataset names to their files")
    found = []
    for name in names:
        entry = info.get(name, {})
        if not isinstance(entry, dict) or (name in info and not isinstance(entry.get("file_name"), str)):
            raise ValueError(f"dataset {name}: {info_file} gives no file_name; only local files can be read")
        if entry.get("formatting", "alpaca") != "alpaca" or entry.get("ranking"):
            raise ValueError(f"dataset {name}: only alpaca rows and plain text can be read")
        candidates = [folder / entry["file_name"]] if entry else [folder / (name + suffix) for suffix in SUFFIXES]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise ValueError(f"no dataset {name} in {folder}")
        found.append(Source(name=name, path=path, columns=COLUMNS | entry.get("columns", {})))
    return found


def read(found: list[Source], *, stage: str, max_samples: int | None) -> Rows:
    """The first `max_samples` rows of each dataset. Raises ValueError for a file that is no list of rows."""
    samples: list[Sample] = []
    broken: list[BrokenRow] = []
    take = _text if stage == "pt" else _conversation
    for source in found:
        for number, row in enumerate(_load(source)[:max_samples], start=1):
            taken = take(row, source, number)
            if isinstance(taken, Sample):
                samples.append(taken)
            else:
                broken.append(BrokenRow(dataset=source.name, row=number, reason=taken))
    return Rows(samples=tuple(samples), broken=tuple(broken))


def _load(source: Source) -> list[Any]:
    try:
        text = source.path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source.path}: is no UTF-8 text: {error.reason} at byte {error.start}") from None
    lines = [line for line in text.split("\n") if line.strip()]  # splitlines() also cuts at U+2028, which JSON may hold
    if source.path.suffix == ".txt":
        return [{source.columns["prompt"]: line} for line in lines]
    try:
        if source.path.suffix == ".jsonl":
            return [_line(line) for line in lines]
        rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source.path}: is no JSON: {error}") from None
    if not isinstance(rows, list):
        raise ValueError(f"{source.path}: must be a list of rows")
    return rows


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _conversation(row: Any, source: Source, number: int) -> Sample | str:
    if not isinstance(row, dict):
        return "no keys and values"
    names = source.columns
    asked = [row.get(names[part]) for part in ("prompt", "query")]
    answer, system = row.get(names["response"]), row.get(names["system"])
    if any(part is not None and not isinstance(part, str) for part in (*asked, system)):
        return "a prompt that is no text"
    query = "\n".join(part for part in asked if part)
    if not query:
        return f"no {names['prompt']}"
    if not isinstance(answer, str):
        return f"no {names['response']}"
    if not answer.strip():
        return f"an empty {names['response']}"
    history = row.get(names["history"]) or []
    if not isinstance(history, list) or not all(_is_turn(turn) for turn in history):
        return f"a {names['history']} that is no list of pairs"
    turns = (*((turn[0], turn[1]) for turn in history), (query, answer))
    return Sample(dataset=source.name, row=number, turns=turns, system=system or "")


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)


def _text(row: Any, source: Source, number: int) -> Sample | str:
    text = row.get("text", row.get(source.columns["prompt"])) if isinstance(row, dict) else row
    if not isinstance(text, str) or not text.strip():
        return "no text"
    return Sample(dataset=source.name, row=number, text=text)
