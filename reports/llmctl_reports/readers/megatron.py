"""Iteration lines of Megatron-LM and its relatives: `iteration 10/ 1000 | key: value | ...`."""

from __future__ import annotations

import re
from pathlib import Path

from llmctl_reports.readers.common import finite, lines_of, number
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.values import SKIPPED, Meta, RunLog

ITERATION = re.compile(r"\biteration[\s:=]+(\d+)\s*/\s*(\d+)[^|]*\|(.*)")
FIELD = re.compile(r"\s*(.+?)\s*[:=]\s*(\S+)\s*")
OWN_KEYS = ("elapsed time per iteration", "consumed samples", "lm loss")
"""One of these is in an iteration line of this family; others count iterations too."""

LOSS_KEYS = ("lm loss", "loss", "lm loss 1")


def sniff(text: str) -> bool:
    """Whether there is an iteration line."""
    return any(_fields_of_line(match) for match in ITERATION.finditer(text))


def read(text: str, path: Path) -> RunLog:
    """All iterations. A line without a loss is a skipped iteration if it says so; else its loss was not finite,
    since some versions leave such a loss out."""
    found = Gathering()
    batches: list[int] = []
    lengths: set[float] = set()
    total: int | None = None
    for line in lines_of(text):
        match = ITERATION.search(line)
        fields = _fields_of_line(match) if match else {}
        if match is None or not fields:
            continue
        step, total = int(match[1]), int(match[2])
        batch = finite(fields.get("global batch size"))
        if batch:
            batches.append(int(batch))
        samples, tokens = finite(fields.get("consumed samples")), finite(fields.get("consumed tokens"))
        if samples and tokens:
            lengths.add(tokens / samples)
        loss = next((number(fields[key]) for key in LOSS_KEYS if key in fields), None)
        if loss is None and (finite(fields.get("number of skipped iterations")) or 0) > 0:
            found.dropped[SKIPPED] += 1
        else:
            _add(found, step, loss, fields)
    length = lengths.pop() if len(lengths) == 1 else 0.0
    return RunLog(
        source=str(path),
        format="Megatron",
        points=found.points(),
        dropped=found.dropped,
        meta=Meta(
            total_steps=total,
            global_batch=batches[-1] if batches else None,
            varying_batch=len(set(batches)) > 1,
            sequence_length=int(length) if length and length.is_integer() else None,
        ),
        notes=("the global batch changes within this log",) if len(set(batches)) > 1 else (),
    )


def fields_of(text: str) -> dict[str, str]:
    """The `key: value` fields between bars; keys in lower case with spaces for `_` and `-`."""
    pairs = (FIELD.fullmatch(part) for part in text.split("|"))
    return {re.sub(r"[_\- ]+", " ", pair[1]).lower(): pair[2] for pair in pairs if pair}


def _fields_of_line(match: re.Match[str]) -> dict[str, str]:
    fields = fields_of(match[3])
    return fields if any(key.startswith(OWN_KEYS) for key in fields) else {}


def _add(found: Gathering, step: int, loss: float | None, fields: dict[str, str]) -> None:
    # DeepSpeed's placeholder, where it keeps the norm to itself: a norm of 0 beside a loss scale of -1.
    placeholder = finite(fields.get("grad norm")) == 0 and finite(fields.get("loss scale")) == -1
    elapsed = fields.get("elapsed time per iteration (ms)", fields.get("elapsed time per iteration ms", ""))
    milliseconds = finite(elapsed.split("/")[0])
    found.add(
        step,
        loss,
        learning_rate=finite(fields.get("learning rate")),
        grad_norm=None if placeholder else finite(fields.get("grad norm")),
        seconds=milliseconds / 1000 if milliseconds else None,
    )
