"""Files of rows: JSON, JSON lines, CSV, plain text, Parquet; a piece of a file at a time. Standard library, the last
aside."""

from __future__ import annotations

import codecs
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
_PIECE = 1 << 18
"""Bytes read at once."""
_SPACE = " \t\n\r"


def load(source: Source, limit: int | None) -> Iterator[Any]:
    """The first `limit` rows of the dataset's files; `NO_JSON` for a line that is none.

    Raises ValueError for a file that holds no rows, OSError for one that cannot be read; both when it gets there."""
    return islice((row for path in source.files for row in _rows(path, source)), limit)


def _rows(path: Path, source: Source) -> Iterator[Any]:
    if path.suffix == ".parquet":
        return _parquet(path)
    pieces = _text(path)
    if path.suffix == ".csv":
        return _csv(path, pieces)
    if path.suffix == ".txt":
        return ({source.columns["prompt"]: line} for line in _lines(pieces))
    if path.suffix == ".jsonl":
        return map(_line, _lines(pieces))
    return _json(path, pieces)


def _text(path: Path) -> Iterator[str]:
    """The text of a file in pieces, line ends as one character, without a byte order mark."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    read, first = 0, True
    with path.open("rb") as file:
        while True:
            data = file.read(_PIECE)
            begun = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                where = read - begun + error.start
                raise ValueError(f"{path}: is no UTF-8 text: {error.reason} at byte {where}") from None
            read += len(data)
            if text:
                yield text.removeprefix("\ufeff") if first else text
                first = False
            if not data:
                return


def _lines(pieces: Iterator[str]) -> Iterator[str]:
    """Lines with something in them, without their ends. Not by splitlines(), which also cuts at U+2028: JSON may hold
    that."""
    return (line[:-1] if line.endswith("\n") else line for line in _whole_lines(pieces) if line.strip())


def _whole_lines(pieces: Iterator[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from (line + "\n" for line in lines)
    if rest:
        yield rest


def _json(path: Path, pieces: Iterator[str]) -> Iterator[Any]:
    text = next((piece for piece in pieces if piece.strip(_SPACE)), "")
    if text.lstrip(_SPACE).startswith("["):
        return _array(path, text, pieces)
    return _json_lines(path, text, pieces)


def _json_lines(path: Path, text: str, pieces: Iterator[str]) -> Iterator[Any]:
    """JSON lines by the name of .json."""
    lines = _lines(iter((text, *pieces)))
    first, second = next(lines, ""), next(lines, None)
    if second is not None and _line(first) is not NO_JSON:
        yield from map(_line, (first, second))
        yield from map(_line, lines)
        return
    whole = "\n".join((first, *(() if second is None else (second,)), *lines))
    try:
        json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON: {error}") from None
    raise ValueError(f"{path}: must be a list of rows")


def _array(path: Path, text: str, pieces: Iterator[str]) -> Iterator[Any]:
    """The items of a list, each as soon as what ends it has been read."""
    decode = json.JSONDecoder().raw_decode
    at, number, ended = _next(text, text.index("[") + 1), 1, ""
    while ended == "," or not text.startswith("]", at):
        try:
            row, end = decode(text, at)
            end = _next(text, end)
            wrong = "" if text.startswith((",", "]"), end) else "no comma behind it"
        except (ValueError, RecursionError) as error:
            wrong = getattr(error, "msg", str(error))
        if wrong:
            more = _more(pieces, len(text) - at)  # perhaps only the rest of the row is missing
            if more:
                text = text[at:] + more
                at = _next(text, 0)
                continue
            raise ValueError(f"{path}: is no JSON: row {number}: {wrong}")
        yield row
        ended, number = text[end], number + 1
        at = _next(text, end + 1) if ended == "," else end
    if text[at + 1 :].strip(_SPACE) or any(piece.strip(_SPACE) for piece in pieces):
        raise ValueError(f"{path}: is no JSON: more text behind the list of {number - 1} rows")


def _more(pieces: Iterator[str], at_least: int) -> str:
    """As much again as there is of a long row, so that no row is looked at often."""
    found: list[str] = []
    while sum(map(len, found)) < at_least + 1 and (piece := next(pieces, "")):
        found.append(piece)
    return "".join(found)


def _next(text: str, at: int) -> int:
    """The next character from `at` on that is no space."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return NO_JSON


def _csv(path: Path, pieces: Iterator[str]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(2**31 - 1)
    try:
        yield from csv.DictReader(_whole_lines(pieces), strict=True)
    except csv.Error as error:
        raise ValueError(f"{path}: is no CSV: {error}") from None


def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ValueError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except ArrowException as error:
        raise ValueError(f"{path}: is no Parquet: {error}") from None
