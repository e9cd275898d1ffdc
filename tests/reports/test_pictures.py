"""What charts show: nothing lost by thinning, nothing moved by smoothing; the same curves as SVG and as PNG."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmctl_reports.curves import SCREEN_POINTS, Kind, charts, smoothed, smoothing, thinned
from llmctl_reports.pictures import picture, pictures
from llmctl_reports.values import Meta, RunLog
from llmctl_reports.vector import Scale, svg
from llmctl_reports.verdict import compare

from tests.reports.made_points import made_log, points_of


def test_a_moving_average_of_a_constant_is_the_constant() -> None:
    assert smoothed(np.full(50, 2.5), 0.9).tolist() == pytest.approx([2.5] * 50)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_moving_average_is_the_plain_recursion(values: list[float], factor: float) -> None:
    total = weight = 0.0
    wanted = []
    for value in values:
        total, weight = factor * total + (1 - factor) * value, factor * weight + (1 - factor)
        wanted.append(total / weight)
    assert smoothed(np.array(values), factor).tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-6)


def test_longer_curves_are_smoothed_over_more_points() -> None:
    assert [smoothing(count) for count in (10, 1000, 100_000, 3_000_000)] == [0.9, 0.9, 0.999, 0.99997]


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(4, 60))
def test_thinning_keeps_both_ends_every_spike_and_the_order(count: int, most: int) -> None:
    y = np.zeros(count)
    y[count // 3], y[count // 2] = 9.0, -9.0
    x, kept = thinned(np.arange(count), y, most)
    assert x.size <= most + 4
    assert (x[0], x[-1]) == (0, count - 1)
    assert (np.diff(x) > 0).all()
    assert (kept.max(), kept.min()) == (y.max(), y.min())
    assert (y[x] == kept).all()


def test_a_thinned_chart_says_so() -> None:
    assert charts(made_log(100), None, "en")[0].notes == ()
    loss, seconds = charts(made_log(SCREEN_POINTS + 9), None, "en")
    assert "about 20000 points" in loss.notes[-1]
    assert "about 20000 points" in seconds.notes[-1]


def test_curves_lie_where_the_logs_were_aligned() -> None:
    run, reference = made_log(40, meta=Meta(global_batch=4)), made_log(20, meta=Meta(global_batch=8))
    loss, *_ = charts(run, compare(run, reference), "zh")
    assert loss.x == "样本数"
    assert [(curve.side, int(curve.x[-1])) for curve in loss.curves] == [("reference", 160), ("run", 160)]


def test_what_was_not_measured_is_not_drawn() -> None:
    points = points_of([(1, 2.0), (2, 1.0), (3, 0.5)], grad_norm=[0.0, 0.0, 0.0], seconds=[0.5, float("nan"), 0.25])
    drawn = {chart.name: chart for chart in charts(RunLog(source="a", format="b", points=points), None, "en")}
    assert drawn.keys() == {"loss", "seconds"}
    assert drawn["seconds"].notes == ()
    assert drawn["seconds"].curves[0].x.tolist() == [1, 3]


def test_the_warm_up_is_not_drawn() -> None:
    seconds = charts(made_log(40, meta=Meta(global_batch=4)), None, "en")[1]
    assert seconds.curves[0].x.tolist() == list(range(6, 41))
    assert seconds.notes == ("The first 5 steps are not drawn.",)


def test_many_points_have_a_thin_and_a_thick_curve() -> None:
    found = compare(made_log(300), made_log(300, 1.01))
    loss, errors, _ = charts(found.run, found, "en")
    assert [curve.kind for curve in loss.curves] == [Kind.RAW, Kind.RAW, Kind.SMOOTH, Kind.SMOOTH]
    assert loss.curves[-1].name == "run (EMA 0.9)"
    assert "factor 0.9" in loss.notes[0]
    assert errors.band == (2.0, "within ±2 %")
    for curve in errors.curves:
        assert curve.y.tolist() == pytest.approx([100 * (1 / 1.01 - 1)] * 300)


@pytest.mark.parametrize("count", [1, 2, 300])
def test_svg_is_well_formed_and_inside_of_its_box(count: int) -> None:
    found = compare(made_log(count), made_log(count))
    for chart in charts(found.run, found, "zh"):
        root = ElementTree.fromstring(svg(chart))
        assert root.attrib["role"] == "img"
        assert chart.title in root.attrib["aria-label"]
        drawn = [each for each in root if "run" in each.attrib.get("class", "").split()]
        assert drawn
        for place in re.findall(r"(-?[\d.]+) (-?[\d.]+)", " ".join(each.attrib.get("d", "") for each in drawn)):
            assert 0 <= float(place[0]) <= 800
            assert 0 <= float(place[1]) <= 320


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_within(low: float, part: float) -> None:
    width = part * max(1.0, abs(low))
    ticks = Scale(low, low + width, 0, 1).ticks()
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-6 * width <= each <= low + width * (1 + 1e-6) for each in ticks)


def test_values_that_no_axis_could_hold_are_left_out() -> None:
    points = points_of([(n, 1.7e308 * (-1) ** n if n == 3 else 2.0 / n) for n in range(1, 30)])
    run = RunLog(source="a", format="b", points=points)
    loss = charts(run, None, "en")[0]
    assert loss.curves[0].x.size == 28
    assert ElementTree.fromstring(svg(loss)).attrib["role"] == "img"


def test_png_twins_of_loss_and_errors() -> None:
    found = compare(made_log(300), made_log(300))
    drawn = pictures(found.run, found)
    assert drawn.keys() == {"loss", "errors"}
    assert all(data.startswith(b"\x89PNG") for data in drawn.values())
    assert picture(charts(made_log(1), None, "en")[0]).startswith(b"\x89PNG")


def test_only_png_needs_matplotlib() -> None:
    code = "import sys, llmctl_reports.page, llmctl_reports.pictures; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
