"""A report that is made again while its log grows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmctl_reports.readers import IN_FOLDER

from llmctl.errors import UsageError
from llmctl.run.states import ENDED
from llmctl.workflows.far import FarPath, fetching
from llmctl.workflows.report import Reference, Report, read_reference, report_on
from llmctl.workflows.report_sources import Asked, Source, find_source, read_source

LOOK = 0.5
"""Seconds between two looks at the log."""
SHARE = 4
"""How much longer than the last report took is waited for the next: a long log must not keep a core busy."""


@dataclass(frozen=True, kw_only=True)
class Glance:
    """A run as it stands now."""

    report: Report | None
    waiting: str
    """Why there is no report yet."""
    ended: bool


def watched(given: str | None, asked: Asked) -> Iterator[Glance]:
    """The report on a run or a log whenever it has grown, until the run has ended; a log has no end of its own. The
    reference is read once. Raises as `make_report` does, and for a run of another machine."""
    source = find_source(given, asked.runs, _refuse)
    with fetching(asked.moved) as fetch:
        reference = read_reference(asked, fetch)
    before: object = None
    pause = LOOK
    while True:
        ended = source.manifest.get("state") in ENDED  # first: the log may grow once more until it is read
        mark = (ended, _mark(source))
        if mark != before:
            before, began = mark, time.monotonic()
            glance = _glance(source, asked, reference, ended=ended)
            pause = max(LOOK, SHARE * (time.monotonic() - began))
            yield glance
        if ended:
            return
        time.sleep(pause)


def _refuse(far: FarPath) -> Path:
    raise UsageError(
        "only what lies on this machine can be watched",
        where=far.given,
        hint="llmctl report --watch there; a run that llmctl started is watched by its id",
    )


def _glance(source: Source, asked: Asked, reference: Reference | None, *, ended: bool) -> Glance:
    try:
        made = report_on(source, read_source(source, asked), asked, reference)
    except UsageError as error:
        if ended:
            raise
        return Glance(report=None, waiting=f"{error.what}: {error.why}" if error.why else error.what, ended=False)
    return Glance(report=made, waiting="", ended=ended)


def _mark(source: Source) -> list[tuple[str, int, int]]:
    """Size and time of the log, wherever it may lie."""
    paths = [source.path]
    if source.path.is_dir():
        named = [path for name in IN_FOLDER if (path := source.path / name).is_file()]
        paths = named or sorted(source.path.rglob("events.out.tfevents.*"))
    found = [(path, path.stat()) for path in paths if path.is_file()]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]
