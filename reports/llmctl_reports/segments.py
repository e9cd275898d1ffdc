"""A log in which the trainer was started more than once: all of it, or one segment."""

from __future__ import annotations

from dataclasses import replace

from llmctl_reports.errors import ReportError
from llmctl_reports.values import NON_FINITE, SUPERSEDED, Final, RunLog


def chosen(log: RunLog, segment: int | None) -> RunLog:
    """The log with the points of one segment, from 1; without `segment` with all that count, and a word about how many
    segments there are. What the log says at its end holds for its last segment only. Raises ReportError when there is
    no such segment."""
    pieces = log.points.segments
    count = max(1, len(pieces))
    if segment is None:
        told = f"{count} segments: where a step was done twice, the later segment counts (--segment N takes one alone)"
        return replace(log, segments=count, notes=(*log.notes, told)) if count > 1 else log
    if not 1 <= segment <= count:
        raise ReportError(
            f"no segment {segment}",
            where=log.source,
            why=f"the trainer was started {count} times in this log"
            if count > 1
            else "the log is all of one piece, or many write it at once",
            hint="--segment N counts from 1; llmctl report LOG --explain tells the segments",
        )
    if count == 1:
        return replace(log, segment=1)
    piece = pieces[segment - 1]
    dropped = {reason: times for reason, times in log.dropped.items() if reason not in (NON_FINITE, SUPERSEDED)}
    return replace(
        log,
        points=replace(piece.points, segments=pieces),
        dropped=dropped | ({NON_FINITE: piece.non_finite} if piece.non_finite else {}),
        final=log.final if segment == count else Final(),
        notes=(*log.notes, f"segment {segment} of {count}"),
        segment=segment,
        segments=count,
    )
