"""Throughput follows from the time of a step; what a trainer says besides is held against that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llmctl_reports.readers import read_log
from llmctl_reports.speed_lines import speed_lines, speed_warnings
from llmctl_reports.throughput import ratio, said, throughput
from llmctl_reports.values import Final, Meta, RunLog

from tests.reports.made_points import points_of

LOGS = Path(__file__).resolve().parents[3] / "shared/samples/logs"
TIMES = [60.0] * 5 + [2.0] * 90 + [4.0] * 5


def log(final: Final | None = None, *, seconds: list[float] | None = None, tokens: float = 0, **meta: object) -> RunLog:
    columns = {"seconds": seconds} if seconds else {}
    if tokens:
        columns["tokens_seen"] = (tokens * np.arange(1, 101)).tolist()
    points = points_of(((n, 2.0) for n in range(1, 101)), **columns)
    return RunLog(source="a", format="b", points=points, final=final or Final(), meta=Meta(**meta))  # type: ignore[arg-type]


def test_mean_median_and_p95_leave_the_warm_up_out() -> None:
    found = throughput(log(seconds=TIMES, global_batch=8, world_size=4, tokens=4096))
    assert found.seconds_per_step == pytest.approx(2 + 2 * 5 / 95)
    assert found.median_seconds == 2
    assert found.p95_seconds == pytest.approx(np.percentile(TIMES[5:], 95))
    assert found.samples_per_second == pytest.approx(8 / (2 + 2 * 5 / 95))
    assert found.tokens_per_second_per_device == pytest.approx(1024 / (2 + 2 * 5 / 95))
    assert found.tokens_basis == "the log's count of tokens"


def test_an_unknown_batch_follows_from_the_trainers_own_samples() -> None:
    """All from one quantity: 800 samples in 100 steps are 8 a step, whatever the whole run took."""
    whole = Final(train_runtime=400.0, train_samples_per_second=2.0)
    assert throughput(log(whole)).samples_per_second == pytest.approx(2)
    assert throughput(log(whole, seconds=[2.0] * 100)).samples_per_second == pytest.approx(4)
    assert throughput(log(whole, seconds=[2.0] * 100, global_batch=16)).samples_per_second == pytest.approx(8)


@pytest.mark.parametrize(
    ("final", "apart"),
    [
        (Final(train_runtime=200.0, train_samples_per_second=4.0, train_steps_per_second=0.5), []),
        (Final(train_runtime=200.0, train_samples_per_second=4.07), []),
        (Final(train_runtime=200.0, train_samples_per_second=4.09), ["samples/s"]),
        (Final(train_runtime=200.0, train_steps_per_second=0.48), ["steps/s"]),
        (Final(train_runtime=200.0, train_tokens_per_second=2000.0), []),
        (Final(train_runtime=200.0, train_tokens_per_second=100.0), ["tokens/s"]),
    ],
)
def test_what_the_trainer_says_is_held_against_its_times(final: Final, apart: list[str]) -> None:
    found = log(final, global_batch=8, tokens=4000, total_steps=100)
    assert [each.unit for each in said(found) if each.apart] == apart
    assert said(found)
    warnings = speed_warnings(found, None, "en")
    assert len(warnings) == len(apart)
    assert all("of its run time are more than 2 % apart" in line for line in warnings)
    agree = [line for line in speed_lines(found, None, "en") if "agree within 2 %" in line]
    assert len(agree) + len(apart) == len(said(found))


def test_three_printed_decimals_are_no_disagreement() -> None:
    """Slow runs print 0.007 steps/s, which may be anything from 0.0065 on."""
    slow = log(Final(train_runtime=14800.0, train_steps_per_second=0.007))
    assert [each.apart for each in said(slow)] == [False]
    assert said(log(Final(train_steps_per_second=0.5))) == ()


def test_the_ratio_is_not_taken_from_rounded_figures() -> None:
    """11.378 / 9.3 samples a second, not 0.022 / 0.018 steps."""
    run, reference = log(global_batch=512, seconds=[45.0] * 100), log(global_batch=512, seconds=[55.05] * 100)
    assert ratio(run, reference) == pytest.approx(55.05 / 45)
    assert speed_lines(run, reference, "en")[-1] == (
        "The run makes 1.223 times as many samples a second as the reference."
    )
    assert speed_lines(run, reference, "zh")[-1] == "本次训练每秒样本数为参考的1.223倍。"
    assert ratio(run, log()) is None


@pytest.mark.skipif(not LOGS.is_dir(), reason="the sample logs are not there")
def test_a_real_trainer_contradicts_itself() -> None:
    found = read_log(LOGS / "hf_stdout/ezpz_aurora_24xpu_hf_trainer_doc.md")
    assert [line.split("are")[0].strip() for line in speed_warnings(found, None, "en")] == [
        "run: the trainer's 1926 tokens/s and the 4.621e+04 tokens/s of its run time"
    ]
