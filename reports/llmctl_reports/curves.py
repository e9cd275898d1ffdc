"""What the charts of a report show, whatever draws them: curves and their names, smoothed and thinned for the eye."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from llmctl_reports.alignment import Alignment
from llmctl_reports.profiles import MEAN_LIMIT
from llmctl_reports.statistics import relative_errors
from llmctl_reports.throughput import WARM_UP
from llmctl_reports.tokens_axis import tokens_seen
from llmctl_reports.values import Column, Places, RunLog
from llmctl_reports.verdict import Comparison
from llmctl_reports.words import WORDS

MANY_POINTS = 200
"""Above this the raw values are drawn thin and their moving average thick."""
SCREEN_POINTS = 20_000
"""What a curve has at most on a page; of more points the smallest and the largest of each bucket are kept."""
HUGE = 1e100


class Kind(StrEnum):
    """How a curve is drawn."""

    LINE = "line"
    RAW = "raw"
    SMOOTH = "smooth"


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Finite values over steps, samples or tokens in ascending order."""

    name: str
    side: str
    """`run` or `reference`: its colour."""
    kind: Kind
    x: Places
    y: Column


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """One pair of axes."""

    name: str
    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    band: tuple[float, str] | None = None
    """Half the width of a band around zero and its name; such axes are symmetric."""
    notes: tuple[str, ...] = ()


def charts(run: RunLog, comparison: Comparison | None, lang: str) -> tuple[Chart, ...]:
    """Loss, relative error, seconds of a step and gradient norm: those for which there is anything to draw, and errors
    only where there are enough points for figures."""
    say = WORDS[lang]
    found = comparison.alignment if comparison else None
    logs = [("reference", comparison.reference)] if comparison else []
    logs.append(("run", run))
    made = [_loss(logs, found, say)]
    if found is not None and comparison is not None and comparison.statistics.rel_error.mean is not None:
        made.append(_errors(run, found, say))
    made.append(_seconds(logs, found, say))
    made.append(_column("grad_norm", [(side, log, log.points.grad_norm) for side, log in logs], found, say))
    drawable = [replace(chart, curves=tuple(_drawable(chart.curves))) for chart in made]
    return tuple(_finished(chart, say) for chart in drawable if chart.curves)


def smoothed(values: Column, factor: float) -> Column:
    """Exponential moving average with its start corrected; for the eye only."""
    total = values * (1 - factor)
    # Each round doubles the terms that a sum has; beyond 1e-17 they change nothing.
    reach = 1
    while reach < values.size and factor**reach > 1e-17:
        share = factor**reach
        total[reach:] = total[reach:] + share * total[:-reach]
        reach *= 2
    return np.asarray(total / (1 - factor ** np.arange(1, values.size + 1)))


def smoothing(points: int) -> float:
    """The factor for a curve of so many points: an average over about a hundredth of them, at least ten."""
    return 1 - float(f"{1 / max(10, points / 100):.1g}")


def thinned(x: Places, y: Column, most: int = SCREEN_POINTS) -> tuple[Places, Column]:
    """At most about `most` points: the smallest and the largest of each bucket, the first and the last; all if there
    are no more than that. No spike gets lost."""
    if x.size <= most:
        return x, y
    size = -(-x.size // (most // 2))
    whole = x.size // size * size
    buckets = y[:whole].reshape(-1, size)
    starts = np.arange(0, whole, size)
    kept = [starts + buckets.argmin(axis=1), starts + buckets.argmax(axis=1), np.array([0, x.size - 1])]
    if whole < x.size:
        kept.append(whole + np.array([y[whole:].argmin(), y[whole:].argmax()]))
    places = np.unique(np.concatenate(kept))
    return x[places], y[places]


def _loss(logs: list[tuple[str, RunLog]], found: Alignment | None, say: Mapping[str, str]) -> Chart:
    curves = [
        Curve(name=say[side], side=side, kind=Kind.LINE, x=_place(log, found, log.points.step), y=log.points.loss)
        for side, log in logs
    ]
    return Chart(name="loss", title=say["curve"], x=_axis(found, say), y=say["axis_loss"], curves=tuple(curves))


def _errors(run: RunLog, found: Alignment, say: Mapping[str, str]) -> Chart:
    steps, errors = relative_errors(found)
    left_out, limit = found.steps.size - steps.size, 100 * MEAN_LIMIT
    curve = Curve(name=say["errors"], side="run", kind=Kind.LINE, x=_place(run, found, steps), y=100 * errors)
    return Chart(
        name="errors",
        title=say["errors"],
        x=_axis(found, say),
        y=say["axis_errors"],
        curves=(curve,),
        band=(limit, say["band"].format(f"{limit:g}")),
        notes=(say["near_zero"].format(left_out),) if left_out else (),
    )


def _seconds(logs: list[tuple[str, RunLog]], found: Alignment | None, say: Mapping[str, str]) -> Chart:
    """Without the warm-up, as in the table: it would leave no room for the rest."""
    made = _column("seconds", [(side, log, log.points.seconds) for side, log in logs], found, say)
    starts = {side: _place(log, found, log.points.step[:1] + WARM_UP)[0] for side, log in logs if len(log.points)}
    later = [curve.x >= starts[curve.side] for curve in made.curves]
    if not all(each.any() for each in later):
        return made
    curves = [replace(curve, x=curve.x[each], y=curve.y[each]) for curve, each in zip(made.curves, later, strict=True)]
    return replace(made, curves=tuple(curves), notes=(say["warm_up"].format(WARM_UP),))


def _after_warm_up(log: RunLog) -> Places:
    steps = log.points.step
    return steps[steps >= steps[:1] + WARM_UP][:1]


def _column(
    name: str, columns: list[tuple[str, RunLog, Column | None]], found: Alignment | None, say: Mapping[str, str]
) -> Chart:
    curves = []
    for side, log, values in columns:
        if values is not None:
            # A column of zeros was not measured.
            kept = np.isfinite(values) & (values != 0)
            x = _place(log, found, log.points.step[kept])
            curves.append(Curve(name=say[side], side=side, kind=Kind.LINE, x=x, y=values[kept]))
    return Chart(name=name, title=say[name], x=_axis(found, say), y=say[f"axis_{name}"], curves=tuple(curves))


def _drawable(curves: Sequence[Curve]) -> Iterator[Curve]:
    """Curves that are not empty, without what no axis could hold."""
    for curve in curves:
        kept = (np.abs(curve.y) < HUGE) & (curve.x >= 0)
        if kept.any():
            yield curve if kept.all() else replace(curve, x=curve.x[kept], y=curve.y[kept])


def _thin(curve: Curve) -> Curve:
    x, y = thinned(curve.x, curve.y)
    return replace(curve, x=x, y=y)


def _finished(chart: Chart, say: Mapping[str, str]) -> Chart:
    """Long curves with their moving average, thinned, and with a word about what was done to them."""
    curves, notes = chart.curves, chart.notes
    most = max(curve.x.size for curve in curves)
    if most > MANY_POINTS:
        factor = smoothing(most)
        raw = [replace(curve, kind=Kind.RAW) for curve in curves]
        thick = [
            replace(curve, kind=Kind.SMOOTH, name=f"{curve.name} (EMA {factor:g})", y=smoothed(curve.y, factor))
            for curve in curves
        ]
        curves, notes = (*raw, *thick), (*notes, say["smoothed"].format(f"{factor:g}"))
    if most > SCREEN_POINTS:
        curves = tuple(_thin(curve) for curve in curves)
        notes = (*notes, say["thinned"].format(SCREEN_POINTS))
    return replace(chart, curves=curves, notes=notes)


def _place(log: RunLog, found: Alignment | None, steps: Places) -> Places:
    """Where logged steps lie on the axis that two logs have in common; -1 for one without a count of tokens."""
    key = found.key if found is not None else None
    if key == "samples":
        return steps * (log.meta.global_batch or 1)
    if key == "tokens" and (seen := tokens_seen(log.points)) is not None:
        return np.nan_to_num(seen[np.searchsorted(log.points.step, steps)], nan=-1).astype(np.int64)
    return steps


def _axis(found: Alignment | None, say: Mapping[str, str]) -> str:
    return say[f"axis_{found.key}" if found is not None and found.key else "axis_step"]
