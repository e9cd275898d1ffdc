"""What readers share: numbers in their many spellings, final metrics."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from llmctl_reports.readers.source import Source
from llmctl_reports.values import BROKEN, Column, Final

MOST_NAMES = 100
THOUSANDS = re.compile(r"\s*[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?\s*")
ELAPSED = re.compile(r"(?:(\d{1,9}) days?, )?(\d{1,9}):(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)")


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises ValueError when it is none, or nested too deep to be one."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def objects(source: Source, dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    """The JSON object of each line, whatever stands before it; a line without one is counted."""
    for line in source.lines():
        try:
            value = parsed(line[line.index("{") :])
        except ValueError:
            value = None
        if isinstance(value, dict):
            yield value
        else:
            dropped[BROKEN] += 1


def number(value: Any) -> float | None:
    """A number, also as text with thousands commas; None for what is none."""
    if value is None or value is True or value is False:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        pass
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return float(text.replace(",", "")) if THOUSANDS.fullmatch(text) else None


def floats(values: Sequence[bytes | None]) -> Column:
    """A column of numbers; NaN for what is none."""
    try:
        return np.array(list(map(float, values)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = map(number, values)
        return np.array([math.nan if value is None else value for value in found], dtype=np.float64)


def finite(value: Any) -> float | None:
    """A finite number or None."""
    found = number(value)
    return found if found is not None and math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number that a float holds exactly, or None."""
    found = finite(value)
    return int(found) if found is not None and abs(found) < 2**53 else None


def printable(text: str, most: int = 120) -> str:
    """A text of a log as a terminal may show it: without control characters, and not for ever."""
    return "".join(char if char.isprintable() else "?" for char in text.strip()[:most])


def shown_names(names: Iterable[str]) -> tuple[str, ...]:
    """The first names of what a log has besides, as a terminal may show them."""
    return tuple(dict.fromkeys(printable(name) for name in islice(names, MOST_NAMES)))


def text_or_none(value: object) -> str | None:
    """A text that is not empty, or None."""
    return printable(value, 1000) or None if isinstance(value, str) else None


def seconds_of(elapsed: object) -> float | None:
    """Seconds of `1 day, 0:08:23.50`; None for what is no such text."""
    match = ELAPSED.fullmatch(elapsed) if isinstance(elapsed, str) else None
    if match is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


TOKENS_SEEN = ("num_input_tokens_seen", "total_tokens", "num_tokens", "tokens_seen", "n_tokens_seen", "tokens/total")
"""What trainers call the tokens up to a step: transformers, LLaMA-Factory, TRL, torchtitan, Axolotl."""


def tokens_seen(values: Mapping[str, Any]) -> float | None:
    """The tokens up to a step; 0 stands where a trainer does not count them."""
    return next((finite(values[name]) or None for name in TOKENS_SEEN if name in values), None)


def final_of(values: Mapping[str, Any]) -> Final:
    """The final metrics in the names of transformers. A throughput of 0 was not measured."""
    return Final(
        train_loss=finite(values.get("train_loss")),
        train_runtime=finite(values.get("train_runtime")) or None,
        train_samples_per_second=finite(values.get("train_samples_per_second")) or None,
        train_steps_per_second=finite(values.get("train_steps_per_second")) or None,
        train_tokens_per_second=finite(values.get("train_tokens_per_second")) or None,
        epochs=finite(values.get("epoch")),
    )


def final_beside(path: Path) -> Final:
    """The final metrics of `all_results.json` or `train_results.json` beside a log; empty where there are none."""
    for name in ("all_results.json", "train_results.json"):
        file = path.parent / name
        if file.is_file():
            try:
                values = parsed(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # the log itself is whole; metrics that cannot be had are shown as a dash
            if isinstance(values, dict):
                return final_of(values)
    return Final()
