"""From two logs to everything that is said about them."""

from __future__ import annotations

from dataclasses import dataclass

from llmctl_reports.align import Aligned, align
from llmctl_reports.runlog import RunLog
from llmctl_reports.statistics import Statistics, compute
from llmctl_reports.throughput import Throughput, throughput
from llmctl_reports.verdict import Check, Verdict, checks, overall


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Left is the run, right the reference. `statistics` is None without a common step."""

    left: RunLog
    right: RunLog
    aligned: Aligned
    statistics: Statistics | None
    checks: tuple[Check, ...]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run, and its comparison if a reference was given."""

    run: RunLog
    speed: Throughput
    comparison: Comparison | None = None
    reference_speed: Throughput | None = None


def make_report(run: RunLog, reference: RunLog | None) -> Report:
    """Everything computed, nothing written."""
    if reference is None:
        return Report(run=run, speed=throughput(run))
    aligned = align(run, reference)
    statistics = compute(aligned) if aligned.common else None
    found = checks(run, reference, aligned, statistics)
    comparison = Comparison(
        left=run, right=reference, aligned=aligned, statistics=statistics, checks=tuple(found), verdict=overall(found)
    )
    return Report(run=run, speed=throughput(run), comparison=comparison, reference_speed=throughput(reference))
