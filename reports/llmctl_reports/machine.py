"""The report for machines; docs/report-schema.json describes it."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

from llmctl_reports.compare import Comparison, Report
from llmctl_reports.runlog import RunLog

SCHEMA = 1


def as_json(report: Report) -> dict[str, Any]:
    """JSON-like values; what is absent is None, never 0."""
    compared = report.comparison
    return {
        "schema": SCHEMA,
        "runs": [_run(report.run)],
        "references": [_run(compared.right)] if compared else [],
        "comparisons": [_comparison(compared)] if compared else [],
        "throughput": [asdict(speed) for speed in (report.speed, report.reference_speed) if speed is not None],
    }


def as_csv(report: Report) -> str:
    """One row a common step, or without a reference one row a point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if report.comparison is None:
        writer.writerow(["step", "loss"])
        writer.writerows([point.step, repr(point.loss)] for point in report.run.points)
        return out.getvalue()
    aligned = report.comparison.aligned
    writer.writerow(["step", "loss", "reference", "abs_error", "rel_error"])
    for step, left, right in zip(aligned.steps, aligned.left, aligned.right, strict=True):
        error = abs(left - right)
        relative = repr(float(error / abs(right))) if right else ""
        writer.writerow([int(step), repr(float(left)), repr(float(right)), repr(float(error)), relative])
    return out.getvalue()


def _run(log: RunLog) -> dict[str, Any]:
    first, last = log.points[0], log.points[-1]
    return {
        "source": log.source,
        "format": log.format,
        "points": len(log.points),
        "first": {"step": first.step, "loss": first.loss},
        "last": {"step": last.step, "loss": last.loss},
        "final": asdict(log.final),
        "dropped": dict(log.dropped),
        "notes": list(log.notes),
    }


def _comparison(compared: Comparison) -> dict[str, Any]:
    aligned, statistics = compared.aligned, compared.statistics
    parts = asdict(statistics) if statistics else dict.fromkeys(("abs_error", "rel_error", "mean_loss", "bias"))
    return {
        "run": compared.left.source,
        "reference": compared.right.source,
        "noise": None,
        "alignment": {
            "key": aligned.key,
            "common": aligned.common,
            "only_left": aligned.only_left,
            "only_right": aligned.only_right,
            "window_left": aligned.window_left,
            "window_right": aligned.window_right,
            "differences": {name: {"left": a, "right": b} for name, (a, b) in aligned.differences.items()},
        },
        **{name: parts[name] for name in ("abs_error", "rel_error", "mean_loss", "bias")},
        "near_zero": {"points": statistics.near_zero, "abs_error": statistics.near_zero_abs} if statistics else None,
        "checks": [asdict(check) for check in compared.checks],
        "verdict": str(compared.verdict),
    }
