"""By what two logs are aligned, and what holds on every axis."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_reports.alignment import align
from llmctl_reports.chinese import translated
from llmctl_reports.curves import charts
from llmctl_reports.profiles import Verdict
from llmctl_reports.readers import read_log
from llmctl_reports.values import Meta, Points, RunLog
from llmctl_reports.verdict import Comparison, compare
from llmctl_reports.words import alignment_line

from tests.reports.made_points import points_of

AXES = ("step", "samples", "tokens", "uneven tokens")
curves = st.lists(st.floats(0.1, 20), min_size=40, max_size=80)
axes = st.sampled_from(AXES)


def made(points: Points, **meta: object) -> RunLog:
    return RunLog(source="a", format="b", points=points, meta=Meta(**meta))  # type: ignore[arg-type]


def sides(axis: str, losses: Sequence[float]) -> tuple[RunLog, RunLog]:
    """A log, and one of the same losses with steps twice as large, where the axis is not that of steps."""
    chance = random.Random(len(losses))
    tokens = np.array([chance.randint(500, 900) if axis.startswith("uneven") else 512 for _ in losses], dtype=float)
    numbered = list(enumerate(losses, 1))
    if axis == "step":
        log = made(points_of(numbered), global_batch=8)
        return log, log
    if axis == "samples":
        tokens[:] = 1
    pairs = range(0, len(losses) // 2 * 2, 2)
    weighted = np.array(losses) * tokens
    coarse = [float(weighted[i : i + 2].sum() / tokens[i : i + 2].sum()) for i in pairs]
    double = [float(tokens[i : i + 2].sum()) for i in pairs]
    if axis == "samples":
        return (
            made(points_of(numbered), global_batch=8),
            made(points_of(enumerate(coarse, 1)), global_batch=16),
        )
    fine, large = points_of(numbered, tokens=tokens), points_of(enumerate(coarse, 1), tokens=double)
    return made(fine), made(replace(large, tokens=None, tokens_seen=np.cumsum(double)))


def without(log: RunLog, row: int) -> RunLog:
    columns = {"step": log.points.step, "loss": log.points.loss, "tokens": log.points.tokens}
    columns["tokens_seen"] = log.points.tokens_seen
    kept = {name: np.delete(column, row) for name, column in columns.items() if column is not None}
    return replace(log, points=Points(**kept))  # type: ignore[arg-type]


@given(axes, curves)
def test_the_same_losses_are_without_error(axis: str, losses: list[float]) -> None:
    left, right = sides(axis, losses)
    for one, other in ((left, left), (right, right), (left, right), (right, left)):
        found = compare(one, other)
        numbers = found.statistics
        assert numbers.abs_error.max == pytest.approx(0, abs=1e-9)
        assert numbers.bias.mean == pytest.approx(0, abs=1e-9)
        assert found.verdict is Verdict.PASS
    assert compare(left, left).statistics.abs_error.max == 0
    assert compare(left, right).alignment.key == axis.split()[-1]
    assert compare(left, right).statistics.points == len(right.points)


@given(axes, curves, st.floats(0.5, 1.5))
def test_swapping_the_sides_turns_the_sign(axis: str, losses: list[float], factor: float) -> None:
    left, right = sides(axis, losses)
    left = replace(left, points=replace(left.points, loss=left.points.loss * factor))
    one, other = compare(left, right).statistics, compare(right, left).statistics
    assert one.points == other.points
    signed = (one.bias.mean or 0) * (one.mean_right or 0), (other.bias.mean or 0) * (other.mean_right or 0)
    assert signed[0] == pytest.approx(-signed[1], abs=1e-9)
    assert one.abs_error.mean == pytest.approx(other.abs_error.mean)


@given(axes, curves, st.data())
def test_a_lost_line_costs_one_point(axis: str, losses: list[float], data: st.DataObject) -> None:
    left, right = sides(axis, losses)
    row = data.draw(st.integers(0, len(right.points) - 1))
    # Where steps have unevenly many tokens, nobody knows of how many the point after a lost line is the mean.
    lost = {1, 2} if axis.startswith("uneven") and row < len(right.points) - 1 else {1}
    before, after = align(left, right), align(left, without(right, row))
    assert before.places.size - after.places.size in lost
    assert set(after.places.tolist()) < set(before.places.tolist())
    assert after.left == pytest.approx(after.right)


@given(curves, st.integers(2, 5))
def test_windows_are_averaged_by_tokens(losses: list[float], k: int) -> None:
    """A log of every k-th step against one of every step, in tokens."""
    chance = random.Random(k)
    tokens = np.array([chance.randint(100, 900) for _ in losses], dtype=float)
    ends = list(range(k, len(losses) + 1, k))
    means = [float(np.average(losses[e - k : e], weights=tokens[e - k : e])) for e in ends]
    coarse = Points(step=np.array(ends), loss=np.array(means), tokens_seen=np.cumsum(tokens)[np.array(ends) - 1])
    fine = points_of(enumerate(losses, 1), tokens=tokens)
    shifted = replace(fine, step=fine.step * 3, tokens=None, tokens_seen=np.cumsum(tokens))
    for left, right in ((made(shifted), made(coarse)), (made(coarse), made(shifted))):
        found = align(left, right)
        assert (found.key, found.places.tolist()) == ("tokens", np.cumsum(tokens)[np.array(ends) - 1].tolist())
        assert found.left == pytest.approx(found.right)
        assert found.grad_norms is None


def test_counts_that_seldom_meet_are_compared_where_they_do() -> None:
    """Two shuffles of the same kind of data: a block ends where both counts are nearly the same."""
    chance = np.random.default_rng(3)
    logs = []
    for size, count in ((1000, 3000), (2000, 1500)):
        seen = np.cumsum(chance.normal(size, size / 10, count)).round()
        loss = 2 + 3 * np.exp(-seen / 1e6) + chance.normal(0, 0.01, count)
        logs.append(made(Points(step=np.arange(1, count + 1), loss=loss, tokens_seen=seen)))
    found = compare(*logs)
    assert found.alignment.key == "tokens"
    assert 100 < found.alignment.places.size < 1500
    assert found.verdict is Verdict.PASS
    assert abs(found.statistics.bias.mean or 1) < 0.001
    assert "tokens" in alignment_line(found, "en")


STEADY = [2 + 1 / n for n in range(1, 31)]


def counted(tokens: float, batch: int | None = None, *, varying: bool = False, epochs: float | None = None) -> RunLog:
    """Thirty steps of so many tokens each."""
    more = {} if epochs is None else {"epoch": np.linspace(epochs / 30, epochs, 30)}
    seen = {"tokens_seen": tokens * np.arange(1, 31)} if tokens else {}
    return made(points_of(enumerate(STEADY, 1), **seen, **more), global_batch=batch, varying_batch=varying)


@pytest.mark.parametrize(
    ("left", "right", "key", "told"),
    [
        (counted(512, 8), counted(1024, 8), "step", None),
        (counted(512, 8), counted(1024, 16), "samples", "compared at equal samples"),
        (counted(512, 8, varying=True), counted(1024, 16), "tokens", "change within a log: compared at equal tokens"),
        (counted(512, 8, varying=True), counted(700, 8), "tokens", "tokens of a step differ: compared at equal tokens"),
        (counted(512, 8, varying=True), counted(0, 8), "step", None),
        (counted(512, 8, varying=True), counted(0, 16), None, "nothing to align by"),
        (counted(512), counted(1024, 16), "tokens", "the run is not in the log, the tokens of a step differ"),
        (counted(512), counted(540), "step", "taken to be equal"),
        (counted(512), counted(0), "step", "taken to be equal"),
        # Padding or none: an epoch of as many steps tells of the same batch.
        (counted(512, epochs=2), counted(900, epochs=2), "step", "taken to be equal"),
        (counted(512, epochs=2), counted(1024, epochs=4), "tokens", "compared at equal tokens"),
    ],
)
def test_the_key_is_step_then_samples_then_tokens(left: RunLog, right: RunLog, key: str | None, told: str) -> None:
    found = align(left, right)
    assert found.key == key
    assert (told in found.notes[-1]) if told else not found.notes
    assert all(re.search("[一-鿿]", translated(note, "zh")) for note in found.notes)


def test_a_count_that_does_not_rise_is_none(tmp_path: Path) -> None:
    falling = counted(512).points
    assert falling.tokens_seen is not None
    falling.tokens_seen[20:] -= 6000
    assert align(made(falling), counted(1024)).key == "step"


def test_charts_lie_on_the_axis_of_tokens() -> None:
    left, right = sides("tokens", STEADY)
    left = replace(left, points=replace(left.points, seconds=np.full(30, 0.5)))
    found: Comparison = compare(left, right)
    drawn = {chart.name: chart for chart in charts(left, found, "en")}
    assert {chart.x for chart in drawn.values()} == {"tokens"}
    assert [curve.x[-1] for curve in drawn["loss"].curves] == [30 * 512, 30 * 512]
    assert drawn["seconds"].curves[0].x[0] == 6 * 512
    assert drawn["errors"].curves[0].x.tolist() == found.alignment.places.tolist()


def test_own_records_count_their_padded_tokens_through_a_resume(tmp_path: Path) -> None:
    def step(number: int) -> str:
        return json.dumps({"record": "step", "step": number, "loss": 2.0, "tokens": 5, "padded_tokens": 10 + number})

    def run(resumed: int) -> str:
        return json.dumps({"record": "run", "resumed_from_step": resumed})

    path = tmp_path / "steps.jsonl"
    path.write_text("\n".join([run(0), step(1), step(2), step(3), run(2), step(3), step(4), step(6)]))
    seen = read_log(path).points.tokens_seen
    assert seen is not None
    assert seen[:4].tolist() == [11, 23, 36, 50]
    assert np.isnan(seen[4])
