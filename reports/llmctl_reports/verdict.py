"""Checks with their limits and where the limits come from, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmctl_reports.align import Aligned
from llmctl_reports.runlog import RunLog
from llmctl_reports.statistics import Statistics


class Verdict(StrEnum):
    """PASS, FAIL, or not enough to say."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


MEAN_LOSS_LIMIT = 0.02
NEAR_ZERO_LIMIT = 0.01
FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class Check:
    """One gate. `value` None: it could not be computed."""

    name: str
    value: float | None
    limit: float
    source: str
    result: Verdict


def checks(left: RunLog, right: RunLog, aligned: Aligned, statistics: Statistics | None) -> list[Check]:
    """All gates. What cannot be judged is INCONCLUSIVE, never passed."""
    found = [
        Check(
            name="common points", value=aligned.common, limit=FEWEST, source="fewer certify nothing",
            result=Verdict.PASS if aligned.common >= FEWEST else Verdict.INCONCLUSIVE,
        )
    ]  # fmt: skip
    if "global_batch" in aligned.differences:
        mine, theirs = aligned.differences["global_batch"]
        found.append(
            Check(
                name="global batch", value=float(str(mine)), limit=float(str(theirs)),
                source="steps of different size are not the same points", result=Verdict.INCONCLUSIVE,
            )
        )  # fmt: skip
    lost = left.dropped.get("not finite", 0)
    found.append(
        Check(
            name="losses that are not finite", value=lost, limit=right.dropped.get("not finite", 0),
            source="as many as the reference has",
            result=Verdict.PASS if lost <= right.dropped.get("not finite", 0) else Verdict.FAIL,
        )
    )  # fmt: skip
    if statistics is not None:
        found.append(
            _gate("relative error of the mean loss", statistics.mean_loss.rel_error, MEAN_LOSS_LIMIT,
                  "2 % on the mean loss, as ModelZoo-PyTorch reports for Baichuan-13B")
        )  # fmt: skip
        if statistics.near_zero:
            found.append(
                _gate("mean absolute error near zero", statistics.near_zero_abs, NEAR_ZERO_LIMIT,
                      "0.01 where the reference loss is below 0.05, as MindFormers' mean absolute error")
            )  # fmt: skip
    return found


def overall(found: list[Check]) -> Verdict:
    """INCONCLUSIVE before FAIL before PASS: what cannot be compared has not failed."""
    results = {check.result for check in found}
    for verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL):
        if verdict in results:
            return verdict
    return Verdict.PASS


def _gate(name: str, value: float | None, limit: float, source: str) -> Check:
    if value is None:
        result = Verdict.INCONCLUSIVE
    else:
        result = Verdict.PASS if value < limit else Verdict.FAIL
    return Check(name=name, value=value, limit=limit, source=source, result=result)
