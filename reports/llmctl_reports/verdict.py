"""PASS, FAIL or INCONCLUSIVE, from the gates of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmctl_reports.alignment import Alignment, align
from llmctl_reports.diagnosis import Diagnosis, diagnose
from llmctl_reports.profiles import PROFILES, Check, Verdict
from llmctl_reports.statistics import Statistics, statistics
from llmctl_reports.values import NON_FINITE, RunLog

MIN_POINTS = 10


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How far further runs of the reference lie from it."""

    sources: tuple[str, ...]
    abs_error: float
    """The mean over all of them of |other - reference|."""
    ratio: float | None
    """The run's own mean absolute error over that; None where the reference repeats itself exactly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A run held against its reference."""

    run: RunLog
    reference: RunLog
    profile: str
    alignment: Alignment
    statistics: Statistics
    """Without figures where there are too few common points for any."""
    checks: tuple[Check, ...]
    verdict: Verdict
    noise: Noise | None = None
    diagnosis: Diagnosis | None = None
    """What kind of difference it is, where a gate fails."""


def compare(
    run: RunLog,
    reference: RunLog,
    *,
    profile: str = "seed",
    limits: Mapping[str, float] | None = None,
    others: Sequence[RunLog] = (),
) -> Comparison:
    """The whole comparison; `limits` replace those of the profile by name. `others` are further runs of the reference,
    which tell how much it differs from itself."""
    alignment = align(run, reference)
    enough = alignment.places.size >= MIN_POINTS
    numbers = statistics(alignment) if enough else Statistics(points=alignment.places.size)
    gates = [*PROFILES[profile](numbers, alignment, limits or {})] if enough else []
    checks = [*gates, *_basic(run, reference, numbers.points)]
    return Comparison(
        run=run,
        reference=reference,
        profile=profile,
        alignment=alignment,
        statistics=numbers,
        checks=tuple(checks),
        verdict=overall(checks),
        noise=_noise(reference, others, numbers.abs_error.mean),
        diagnosis=diagnose(alignment) if overall(gates) is Verdict.FAIL else None,
    )


def overall(checks: Sequence[Check]) -> Verdict:
    """FAIL if a check fails, else INCONCLUSIVE if one cannot be decided, else PASS."""
    results = [check.result for check in checks]
    return next((verdict for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE) if verdict in results), Verdict.PASS)


def _noise(reference: RunLog, others: Sequence[RunLog], error: float | None) -> Noise | None:
    """None without others, or where one of them has too few points in common with the reference."""
    found = [align(other, reference) for other in others]
    if not found or error is None or min(each.places.size for each in found) < MIN_POINTS:
        return None
    means = [float(abs(each.left - each.right).mean()) for each in found]
    mean = sum(means) / len(means)
    return Noise(sources=tuple(o.source for o in others), abs_error=mean, ratio=error / mean if mean else None)


def _basic(run: RunLog, reference: RunLog, points: int) -> list[Check]:
    """What has to be so before any figure means something, in every profile."""
    enough = Verdict.PASS if points >= MIN_POINTS else Verdict.INCONCLUSIVE
    checks = [Check(name="common points", value=points, limit=MIN_POINTS, source="llmctl", result=enough)]
    for name, log, bad in (("run", run, Verdict.FAIL), ("reference", reference, Verdict.INCONCLUSIVE)):
        count = log.dropped.get(NON_FINITE, 0)
        result = bad if count else Verdict.PASS
        checks.append(
            Check(name=f"non-finite losses of the {name}", value=count, limit=0, source="llmctl", result=result)
        )
    return checks
