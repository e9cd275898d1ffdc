"""PASS, FAIL or INCONCLUSIVE, from checks that each name their limit and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from llmctl_reports.alignment import Alignment, align
from llmctl_reports.statistics import NEAR_ZERO, Statistics, statistics
from llmctl_reports.values import NON_FINITE, RunLog

MEAN_LIMIT = 0.02
"""The relative error that the mean loss may have."""
ABSOLUTE_LIMIT = 0.01
"""The mean absolute error allowed where the reference's mean loss is near zero."""
MIN_POINTS = 10
DIVERGED = "non-finite losses of the run"


class Verdict(StrEnum):
    """What a check or a comparison comes to."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One judgement."""

    name: str
    value: float | None
    limit: float
    source: str
    result: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run held against its reference."""

    run: RunLog
    reference: RunLog
    alignment: Alignment
    statistics: Statistics
    checks: tuple[Check, ...]
    verdict: Verdict


def compare(run: RunLog, reference: RunLog) -> Comparison:
    """The whole comparison."""
    alignment = align(run, reference)
    numbers = statistics(alignment)
    checks = tuple(_checks(run, reference, numbers))
    return Comparison(
        run=run,
        reference=reference,
        alignment=alignment,
        statistics=numbers,
        checks=checks,
        verdict=overall(checks),
    )


def overall(checks: Sequence[Check]) -> Verdict:
    """A run that lost its way to NaN failed, however little of it can be compared. Otherwise INCONCLUSIVE outweighs
    FAIL: what cannot be compared cannot be judged."""
    results = [check.result for check in checks]
    if any(check.name == DIVERGED and check.result is Verdict.FAIL for check in checks):
        return Verdict.FAIL
    for verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL):
        if verdict in results:
            return verdict
    return Verdict.PASS


def _checks(run: RunLog, reference: RunLog, numbers: Statistics) -> list[Check]:
    enough = Verdict.PASS if numbers.points >= MIN_POINTS else Verdict.INCONCLUSIVE
    checks = [_loss_check(numbers)]
    checks.append(Check(name="common points", value=numbers.points, limit=MIN_POINTS, source="llmctl", result=enough))
    here, there = run.meta.global_batch, reference.meta.global_batch
    if here is not None and there is not None:
        same = Verdict.PASS if here == there else Verdict.INCONCLUSIVE
        checks.append(Check(name="global batch", value=here, limit=there, source="the reference's", result=same))
    for name, log, bad in (("run", run, Verdict.FAIL), ("reference", reference, Verdict.INCONCLUSIVE)):
        count = log.dropped.get(NON_FINITE, 0)
        result = bad if count else Verdict.PASS
        checks.append(
            Check(name=f"non-finite losses of the {name}", value=count, limit=0, source="llmctl", result=result)
        )
    return checks


def _loss_check(numbers: Statistics) -> Check:
    if numbers.mean_right is not None and abs(numbers.mean_right) < NEAR_ZERO:
        name, value, limit = "mean absolute error", numbers.abs_error.mean, ABSOLUTE_LIMIT
        source = f"llmctl, where the reference's mean loss is below {NEAR_ZERO}"
    else:
        name, value, limit = "mean loss relative error", numbers.mean_rel_error, MEAN_LIMIT
        source = "ModelZoo: the mean loss differs by less than 2 %"
    if value is None:
        return Check(name=name, value=None, limit=limit, source=source, result=Verdict.INCONCLUSIVE)
    return Check(
        name=name, value=value, limit=limit, source=source, result=Verdict.PASS if value <= limit else Verdict.FAIL
    )
