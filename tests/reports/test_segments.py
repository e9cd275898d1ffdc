"""Logs in which the trainer was started more than once."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_reports.chinese import translated
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.profiles import Verdict
from llmctl_reports.readers import read_log
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.values import CONFLICT, DUPLICATE, NON_FINITE, SUPERSEDED, Points
from llmctl_reports.verdict import compare

from tests.reports.test_hostile_logs import MEGATRON, TITAN, lines_of, read


def csv(path: Path, rows: list[tuple[int, float]]) -> Path:
    path.write_text("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in rows), encoding="utf-8")
    return path


def pairs(points: Points) -> list[tuple[int, float]]:
    return list(zip(points.step.tolist(), points.loss.tolist(), strict=True))


FIRST = [(n, 9 / n) for n in range(1, 7)]
SECOND = [(n, 8 / n) for n in range(4, 9)]
THIRD = [(n, 7 / n) for n in range(6, 10)]


def test_each_segment_can_be_had_alone(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", [*FIRST, *SECOND, *THIRD])
    whole = read_log(path)
    assert pairs(whole.points) == [*FIRST[:3], *SECOND[:2], *THIRD]
    assert (whole.segments, whole.segment, whole.dropped) == (3, None, {SUPERSEDED: 6})
    assert whole.notes[-1].startswith("3 segments: ")
    for number, rows in enumerate((FIRST, SECOND, THIRD), 1):
        log = read_log(path, segment=number)
        assert (pairs(log.points), log.segment, log.segments, log.dropped) == (rows, number, 3, {})
        assert log.notes[-1] == f"segment {number} of 3"
        assert translated(log.notes[-1], "zh") == f"第{number}段，共3段"
    assert translated(whole.notes[-1], "zh").startswith("共3段：")
    assert "segment 2: 5 points, steps 4 to 8" in explain(whole)


def test_a_loss_that_is_not_finite_counts_in_its_own_segment_only(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", [*FIRST[:5], (6, float("nan")), *SECOND])
    assert read_log(path).dropped == {SUPERSEDED: 3}
    assert read_log(path, segment=1).dropped == {NON_FINITE: 1}
    assert read_log(path, segment=2).dropped == {}
    assert f"segment 1: 5 points, steps 1 to 5, 1 x {NON_FINITE}" in explain(read_log(path))


def test_a_log_of_one_piece_has_one_segment(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", FIRST)
    assert (pairs(read_log(path, segment=1).points), read_log(path).notes) == (FIRST, ())
    for segment, rows in ((2, FIRST), (0, FIRST), (4, [*FIRST, *SECOND, *THIRD])):
        with pytest.raises(ReportError, match=f"no segment {segment}"):
            read_log(csv(path, rows), segment=segment)


def test_a_line_that_contradicts_the_one_before_is_counted_and_no_restart(tmp_path: Path) -> None:
    """Ranks that write one file, each with its own loss."""
    log = read_log(csv(tmp_path / "a.csv", [(1, 3.0), (1, 3.1), (2, 2.0), (2, 2.0), (3, 1.0)]))
    assert (pairs(log.points), log.segments) == ([(1, 3.1), (2, 2.0), (3, 1.0)], 1)
    assert log.dropped == {CONFLICT: 1, DUPLICATE: 1}


def test_a_log_that_goes_back_all_the_time_is_written_by_many_and_has_no_segments() -> None:
    found = Gathering()
    for _ in range(1001):
        for step in (1, 2, 3):
            found.add(step, random.random())
    assert (len(found.points()), found.points().segments) == (3, ())


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([1.0, 2.0, float("nan")])), max_size=60))
def test_what_counts_is_the_last_word_on_every_step(rows: list[tuple[int, float]]) -> None:
    """Against a plain dict: a step in order that is done again forgets all from there on; a new one that comes behind
    later ones is added."""
    found = Gathering()
    counts: dict[int, tuple[float, bool]] = {}
    for step, loss in rows:
        found.add(step, loss)
        before, in_order = counts.get(step, (None, False))
        last = max((n for n, (_, ordered) in counts.items() if ordered), default=0)
        if before is not None and (before == loss or (before != before and loss != loss)):
            continue
        if step > last:
            counts[step] = (loss, True)
        elif before is None or not in_order:
            counts[step] = (loss, False)
        elif step == last:
            counts[step] = (loss, True)
        else:
            counts = {n: kept for n, kept in counts.items() if n < step} | {step: (loss, True)}
    points = found.points()
    assert pairs(points) == sorted((n, x) for n, (x, _) in counts.items() if x == x)
    kept = len(points) + found.dropped[NON_FINITE]
    assert len(rows) == kept + found.dropped[SUPERSEDED] + found.dropped[DUPLICATE] + found.dropped[CONFLICT]


@given(st.permutations(range(1, 30)), st.lists(st.integers(1, 29), max_size=10))
def test_the_order_of_lines_changes_nothing(order: list[int], again: list[int]) -> None:
    found, plain = Gathering(), Gathering()
    for step in (*order, *again):
        found.add(step, 1 / step, grad_norm=2.0 * step, seconds=float(step) if step % 2 else None)
    for step in range(1, 30):
        plain.add(step, 1 / step, grad_norm=2.0 * step, seconds=float(step) if step % 2 else None)
    one, other = found.points(), plain.points()
    assert pairs(one) == pairs(other)
    assert one.segments == ()
    for name in ("grad_norm", "seconds"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
    assert found.dropped == ({DUPLICATE: len(again)} if again else {})


def test_a_second_run_with_points_between_those_of_the_first_is_a_segment_of_its_own(tmp_path: Path) -> None:
    first = [(n, 9 / n) for n in (10, 20, 30)]
    second = [(n, 8 / n) for n in range(5, 45, 5)]
    path = csv(tmp_path / "a.csv", [*first, *second])
    assert pairs(read_log(path).points) == second
    assert [pairs(read_log(path, segment=n).points) for n in (1, 2)] == [first, second]


@pytest.mark.parametrize("form", [MEGATRON, TITAN], ids=["Megatron", "torchtitan"])
def test_a_comparison_knows_no_order_of_lines(form: str) -> None:
    lines = lines_of(form)
    mixed = [f"node{n % 3}: {line}" for n, line in enumerate(lines)]
    random.Random(4).shuffle(mixed)
    found = compare(read("\r\n".join([*mixed, *mixed[:9]])), read("\n".join(lines)))
    assert (found.verdict, found.statistics.points, found.statistics.abs_error.max) == (Verdict.PASS, 30, 0)
    assert found.run.dropped == {DUPLICATE: 9}


def test_output_of_two_trainers_in_one_file_is_cut_at_the_bar_that_falls() -> None:
    def line(step: int, loss: float) -> str:
        return f" 10%|#   | {step}/60 [00:01<00:09]\r{{'loss': {loss:.4f}, 'epoch': 0.5}}\n"

    first = [(n, 9 / n) for n in range(10, 41, 10)]
    second = [(n, 8 / n) for n in range(30, 61, 10)]
    log = read("".join(line(*row) for row in (*first, *second)))
    assert log.segments == 2
    assert log.points.step.tolist() == [10, 20, 30, 40, 50, 60]
    assert log.points.loss.tolist() == pytest.approx([9 / 10, 9 / 20, *(loss for _, loss in second)], abs=1e-4)
    late = read("".join(line(*row) for row in (*first, (39, 0.2), (41, 0.2))))
    assert late.segments == 1
    assert "counted" in late.notes[0]
