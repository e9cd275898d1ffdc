"""What a comparison is judged by: each profile is a list of gates with their limits and where these come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from llmctl_reports.alignment import Alignment
from llmctl_reports.statistics import NEAR_ZERO, Bias, Statistics


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


Gates = Callable[[Statistics, Alignment, Mapping[str, float]], Iterator[Check]]

MEAN_LIMIT = 0.02
ABSOLUTE_LIMIT = 0.01
SEED = "ModelZoo's reports: the mean loss within 2 %"
MINDFORMERS = "MindFormers, precision optimisation guide"
MINDSPEED = "MindSpeed-LLM, system tests"
MEGATRON = "Megatron-LM, functional tests"
OWN = "llmctl"


def _most(name: str, value: float | None, limit: float, source: str) -> Check:
    """A value that may not exceed its limit."""
    result = Verdict.INCONCLUSIVE if value is None else Verdict.PASS if value <= limit else Verdict.FAIL
    return Check(name=name, value=value, limit=limit, source=source, result=result)


def _either(name: str, pairs: list[tuple[float | None, float]], source: str) -> Check:
    """Two ways to be within the limit; the first that can be told is shown."""
    told = [(value, limit) for value, limit in pairs if value is not None]
    if not told:
        return Check(name=name, value=None, limit=pairs[0][1], source=source, result=Verdict.INCONCLUSIVE)
    good = [(value, limit) for value, limit in told if value < limit]
    value, limit = (good or told)[0]
    return Check(name=name, value=value, limit=limit, source=source, result=Verdict.PASS if good else Verdict.FAIL)


def judge_bias(bias: Bias, limit: float) -> Verdict:
    """PASS when the whole interval lies inside of +-limit, FAIL when the whole of it lies outside."""
    if bias.low is None or bias.high is None:
        return Verdict.INCONCLUSIVE
    if -limit <= bias.low and bias.high <= limit:
        return Verdict.PASS
    return Verdict.FAIL if bias.low > limit or bias.high < -limit else Verdict.INCONCLUSIVE


def seed(numbers: Statistics, _: Alignment, limits: Mapping[str, float]) -> Iterator[Check]:
    """The interval of the bias; points with a reference near zero by their absolute error."""
    limit = limits.get("bias", MEAN_LIMIT)
    if numbers.near_zero < numbers.points:
        bias = numbers.gated_bias
        yield Check(
            name="bias of the mean loss", value=bias.mean, limit=limit, source=SEED, result=judge_bias(bias, limit)
        )
    if numbers.near_zero:
        yield _most(
            f"mean absolute error where the reference is below {NEAR_ZERO}",
            numbers.near_zero_error,
            limits.get("near_zero", ABSOLUTE_LIMIT),
            OWN,
        )
    if 2 * numbers.near_zero > numbers.points:
        yield Check(
            name=f"share of points with a reference below {NEAR_ZERO}",
            value=numbers.near_zero / numbers.points,
            limit=0.5,
            source=OWN,
            result=Verdict.INCONCLUSIVE,
        )


def mindformers(numbers: Statistics, _: Alignment, limits: Mapping[str, float]) -> Iterator[Check]:
    """First loss, mean error, gradient norm."""
    first = [(numbers.first_rel_error, limits.get("first_relative", 0.005))]
    first += [(numbers.first_abs_error, limits.get("first_absolute", 0.005))]
    yield _either("error of the first loss, relative or absolute", first, MINDFORMERS)
    mean = [(numbers.rel_error.mean, limits.get("mean_relative", 0.01))]
    mean += [(numbers.abs_error.mean, limits.get("mean_absolute", 0.01))]
    yield _either("mean error of the losses, relative or absolute", mean, MINDFORMERS)
    if numbers.grad_norm_rel_error is not None:
        limit = limits.get("grad_norm", 0.10)
        yield _most("mean relative error of the gradient norm", numbers.grad_norm_rel_error, limit, MINDFORMERS)


def mindspeed_ci(numbers: Statistics, _: Alignment, limits: Mapping[str, float]) -> Iterator[Check]:
    """Every single loss."""
    limit = limits.get("each_relative", 0.02)
    yield _most("largest relative error of a loss", numbers.rel_error.max, limit, MINDSPEED)
    if numbers.grad_norm_rel_error is not None:
        limit = limits.get("grad_norm", 0.10)
        yield _most("mean relative error of the gradient norm", numbers.grad_norm_rel_error, limit, MINDSPEED)


def megatron(numbers: Statistics, _: Alignment, limits: Mapping[str, float]) -> Iterator[Check]:
    """Few losses beyond 5 %: one in a hundred, at least 1, at most 50."""
    count = None if numbers.beyond is None else numbers.beyond[0.05]
    limit = limits.get("points", float(min(50, max(1, numbers.points // 100))))
    yield _most("points with a relative error beyond 5 %", count, limit, MEGATRON)


def exact(_: Statistics, alignment: Alignment, __: Mapping[str, float]) -> Iterator[Check]:
    """The same number at every common point, and no point that only one side has."""
    unequal = int(np.count_nonzero(alignment.left != alignment.right))
    yield _most("points that are not equal", unequal, 0, OWN)
    yield _most("points that only one log has", alignment.only_left + alignment.only_right, 0, OWN)


PROFILES: dict[str, Gates] = {
    "seed": seed,
    "mindformers": mindformers,
    "mindspeed-ci": mindspeed_ci,
    "megatron": megatron,
    "exact": exact,
}
