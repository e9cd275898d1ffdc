"""Logs in which the trainer was started more than once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.readers import read_log
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.values import CONFLICT, DUPLICATE, NON_FINITE, SUPERSEDED, Points


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


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([1.0, 2.0, float("nan")])), max_size=60))
def test_what_counts_is_the_last_word_on_every_step(rows: list[tuple[int, float]]) -> None:
    """Against a plain dict: a step that is done again forgets all from there on."""
    found = Gathering()
    expected: dict[int, float] = {}
    for step, loss in rows:
        found.add(step, loss)
        if step in expected and (expected[step] == loss or (expected[step] != expected[step] and loss != loss)):
            continue
        expected = {n: x for n, x in expected.items() if n < step} | {step: loss}
    points = found.points()
    assert pairs(points) == [(n, x) for n, x in expected.items() if x == x]
    lines = sum(len(each.points) + each.non_finite for each in points.segments) if points.segments else None
    kept = len(points) + found.dropped[NON_FINITE]
    assert lines in (None, kept + found.dropped[SUPERSEDED])
    assert len(rows) == kept + found.dropped[SUPERSEDED] + found.dropped[DUPLICATE] + found.dropped[CONFLICT]
