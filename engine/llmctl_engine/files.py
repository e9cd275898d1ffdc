"""Files of rows: JSON, JSON lines, CSV, plain text, Parquet. Standard library, the last aside."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from llmctl_engine.sources import Source

NO_JSON = object()
"""Stands for a line that is no JSON."""


def load(source: Source, limit: int | None) -> list[Any]:
    """The first `limit` rows of the dataset's files; `NO_JSON` for a line that is none.

    Raises ValueError for a file that holds no rows, OSError for one that cannot be read."""
    return list(islice((row for path in source.files for row in _rows(path, source)), limit))


def _rows(path: Path, source: Source) -> Iterator[Any]:
    if path.suffix == ".parquet":
        return _parquet(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no UTF-8 text: {error.reason} at byte {error.start}") from None
    if path.suffix == ".csv":
        return _csv(path, text)
    lines = (line for line in text.split("\n") if line.strip())  # splitlines() also cuts at U+2028, which JSON may hold
    if path.suffix == ".txt":
        return ({source.columns["prompt"]: line} for line in lines)
    if path.suffix == ".jsonl":
        return (_line(line) for line in lines)
    return iter(_json(path, text))


def _json(path: Path, text: str) -> list[Any]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        first = next((line for line in text.split("\n") if line.strip()), "")
        if _line(first) is not NO_JSON and "\n" in text.strip():
            return [_line(line) for line in text.split("\n") if line.strip()]  # JSON lines by the name of .json
        raise ValueError(f"{path}: is no JSON: {error}") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path}: must be a list of rows")
    return rows


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return NO_JSON


def _csv(path: Path, text: str) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(2**31 - 1)
    try:
        yield from csv.DictReader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(f"{path}: is no CSV: {error}") from None


def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ValueError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except ArrowException as error:
        raise ValueError(f"{path}: is no Parquet: {error}") from None
