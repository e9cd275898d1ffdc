"""What a reader made of a log, in sentences."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np

from llmctl_reports.values import NON_FINITE, RunLog, Segment


def explain(log: RunLog) -> list[str]:
    """Which reader took the log, what it kept, dropped and concluded."""
    points = log.points
    columns = [each.name for each in fields(points) if isinstance(getattr(points, each.name), np.ndarray)]
    known = {name: value for name, value in asdict(log.meta).items() if value not in (None, False)}
    final = {name: value for name, value in asdict(log.final).items() if value is not None}
    told = [
        f"{log.source}: read as {log.format}",
        f"kept: {len(points)} points, steps {points.step[0]} to {points.step[-1]}, one every {log.window}"
        if len(points)
        else "kept: no points",
        f"columns: {', '.join(columns)}",
    ]
    told += [f"not used: {', '.join(log.unused)}"] if log.unused else []
    told += [f"left out: {count} x {reason}" for reason, count in log.dropped.items()]
    told += [f"says of its run: {', '.join(f'{name} {value}' for name, value in known.items())}"] if known else []
    told += [f"says at its end: {', '.join(f'{name} {value}' for name, value in final.items())}"] if final else []
    told += [_segment(number, each) for number, each in enumerate(points.segments, 1)]
    return told + [f"note: {note}" for note in log.notes]


def _segment(number: int, segment: Segment) -> str:
    steps = segment.points.step
    found = f"{steps.size} points, steps {steps[0]} to {steps[-1]}" if steps.size else "no points"
    return f"segment {number}: {found}" + (f", {segment.non_finite} x {NON_FINITE}" if segment.non_finite else "")
