"""Log files to RunLog: one reader a format, chosen by what is in the file."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from llmctl_reports.errors import ReportError
from llmctl_reports.readers import (
    columns,
    deepspeed,
    events,
    golden,
    hf_stdout,
    megatron,
    mlperf,
    results,
    steps,
    trainer_log,
    trainer_state,
)
from llmctl_reports.readers.common import printable
from llmctl_reports.readers.patterns import PATTERNS
from llmctl_reports.readers.source import Source
from llmctl_reports.segments import chosen
from llmctl_reports.values import NON_FINITE, Final, RunLog


class Reader(Protocol):
    """A format of logs."""

    def sniff(self, head: str) -> bool:
        """Whether these lines look like this format."""

    def read(self, source: Source) -> RunLog:
        """All points of the file; files beside it may add the final metrics. Raises ReportError when the file is
        broken."""


READERS: dict[str, Reader] = {
    "TensorBoard": events,
    "steps.jsonl": steps,
    "trainer_state.json": trainer_state,
    "trainer_log.jsonl": trainer_log,
    "golden values": golden,
    "MLPerf": mlperf,
    "Megatron": megatron,
    "HF Trainer output": hf_stdout,
    **{pattern.name: pattern for pattern in PATTERNS},
    "table": columns,
    "all_results.json": results,
    "DeepSpeed": deepspeed,
}
"""In the order in which they are tried."""

WITHOUT_LOSSES = {"all_results.json", "DeepSpeed"}
"""What alone makes no curve: the losses may come later in the file, in another format."""

CLUES = tuple(re.compile(clue, re.IGNORECASE) for clue in (r"\bloss", r"\b(?:step|iter|epoch)", r"\d"))
"""What a line with a point has."""
SHOWN = 3
SEARCHED = 1_000_000
"""Lines in which the nearest are looked for."""

IN_FOLDER = (
    "output/steps.jsonl",
    "steps.jsonl",
    "output/trainer_state.json",
    "trainer_state.json",
    "output/trainer_log.jsonl",
    "trainer_log.jsonl",
    "output/running_log.txt",
    "running_log.txt",
    "output/all_results.json",
    "all_results.json",
    "train_results.json",
)
"""Where a folder's log is looked for, the best source first."""


def read_log(path: Path, format_in: str | None = None, segment: int | None = None) -> RunLog:
    """The log of a file or of a run's folder, read as `format_in` if given; one `segment` of it if given, from 1;
    without points where the file holds final metrics alone. Raises ReportError when it is missing or holds neither, or
    when there is no such format or segment."""
    if format_in is not None and format_in not in READERS:
        raise ReportError(f"no format {format_in!r}", where="--format-in", hint=f"there are {', '.join(READERS)}")
    source = _source(path)
    likely = [format_in] if format_in else _likely(source)
    logs = []
    for name in likely:
        log = READERS[name].read(source)
        if len(log.points):
            if "DeepSpeed" in likely and deepspeed.lacks(log):
                log = deepspeed.with_engine_lines(log, deepspeed.engine_lines(source))
            return chosen(log, segment)
        logs.append(log)
    for log in logs:
        if log.final != Final() and not log.dropped.get(NON_FINITE):
            return replace(log, notes=log.notes or ("this log holds no losses, only the metrics of its end",))
    told = [f"{count} x {reason}" for log in logs for reason, count in log.dropped.items()]
    dropped = "; ".join([*told, *(note for log in logs for note in log.notes)])
    raise ReportError(
        "no losses in this file",
        where=str(source.path),
        why=f"read as {', '.join(likely)}: {dropped or 'no step with a loss'}"
        if likely
        else f"it is none of the formats {', '.join(READERS)}{_nearest(source)}",
        hint="give the file that the trainer wrote, or a table with the columns step and loss; --format-in NAME reads "
        "it as one format",
    )


def _source(path: Path) -> Source:
    """The log of a file or folder; event files where a folder has nothing better."""
    if path.is_dir() and not any((path / name).is_file() for name in IN_FOLDER) and (files := events.in_folder(path)):
        return Source(files[0], files[1:])
    return Source(locate(path))


def _nearest(source: Source) -> str:
    """The lines that come nearest to a record: with a loss, a step and a number, the first of equals."""
    found: list[tuple[int, str]] = []
    for line in islice(source.lines(), SEARCHED):
        likeness = sum(clue.search(line) is not None for clue in CLUES)
        if likeness > 1 and (len(found) < SHOWN or likeness > found[-1][0]):
            found = sorted([*found, (likeness, line)], key=lambda pair: -pair[0])[:SHOWN]
    shown = [printable(line) for _, line in found]
    return "; the nearest lines are\n    " + "\n    ".join(shown) if shown else ""


def _likely(source: Source) -> list[str]:
    """The formats of the first lines that have any with losses, else of all lines."""
    found: dict[str, None] = {}
    for piece in source.pieces():
        head = piece.decode("utf-8", errors="replace")
        found |= dict.fromkeys(name for name, reader in READERS.items() if reader.sniff(head))
        if found.keys() - WITHOUT_LOSSES:
            break
    return sorted(found, key=list(READERS).index)


def locate(path: Path) -> Path:
    """The log file of a file or folder. Raises ReportError when there is none."""
    if path.is_dir():
        for name in IN_FOLDER:
            if (path / name).is_file():
                return path / name
        raise ReportError(
            "no log in this folder",
            where=str(path),
            why=f"looked for {', '.join(IN_FOLDER)} and TensorBoard's event files",
            hint="give the log file itself",
        )
    if not path.exists():
        raise ReportError("no such file", where=str(path), hint="give a run, a run's folder or a log file")
    return path
