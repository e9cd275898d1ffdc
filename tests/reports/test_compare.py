"""Alignment, arithmetic and verdicts, against independent computations and figures that were published."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_reports.alignment import align
from llmctl_reports.profiles import PROFILES, Verdict
from llmctl_reports.readers import read_log
from llmctl_reports.statistics import Bias, statistics
from llmctl_reports.tables import RESULTS, SPEED, error_lines, markdown_table, results_table, speed_table
from llmctl_reports.values import NON_FINITE, Final, Meta, RunLog
from llmctl_reports.verdict import compare
from llmctl_reports.words import noise_line, verdict_line

from llmctl.recipe.schema import Report
from tests.reports.made_points import points_of

LOGS = Path(__file__).resolve().parents[3] / "shared/samples/logs"
real = pytest.mark.skipif(not LOGS.is_dir(), reason="the sample logs are not there")


def log(losses: Sequence[float] | dict[int, float], **more: object) -> RunLog:
    pairs = losses.items() if isinstance(losses, dict) else enumerate(losses, 1)
    return RunLog(source="a", format="b", points=points_of(pairs), **more)  # type: ignore[arg-type]


def interval(bias: Bias) -> tuple[float, float]:
    """In percent, as published."""
    assert bias.low is not None
    assert bias.high is not None
    return round(100 * bias.low, 1), round(100 * bias.high, 1)


curves = st.lists(st.floats(0.1, 20), min_size=10, max_size=60)


@given(curves)
def test_a_log_against_itself_is_without_error(losses: list[float]) -> None:
    found = compare(log(losses), log(losses))
    numbers = found.statistics
    assert (numbers.abs_error.max, numbers.rel_error.max, numbers.mean_rel_error, numbers.bias.mean) == (0, 0, 0, 0)
    assert (numbers.bias.low, numbers.bias.high) == (0, 0)
    assert found.verdict is Verdict.PASS


@given(curves, st.floats(0.5, 2), st.randoms(use_true_random=False))
def test_scaling_both_changes_no_relative_error(losses: list[float], scale: float, chance: random.Random) -> None:
    other = [loss * chance.uniform(0.9, 1.1) for loss in losses]
    plain = statistics(align(log(other), log(losses)))
    scaled = statistics(align(log([scale * x for x in other]), log([scale * x for x in losses])))
    assert scaled.mean_rel_error == pytest.approx(plain.mean_rel_error, abs=1e-9)
    assert scaled.rel_error.max == pytest.approx(plain.rel_error.max, abs=1e-9)
    assert scaled.abs_error.mean == pytest.approx(scale * (plain.abs_error.mean or 0), abs=1e-9)


@given(st.lists(st.floats(0.1, 20), min_size=40, max_size=90), st.sampled_from([2, 3, 5]))
def test_a_coarser_log_is_held_against_block_means(losses: list[float], k: int) -> None:
    coarse = {end: sum(losses[end - k : end]) / k for end in range(k, len(losses) + 1, k)}
    for left, right in ((log(losses), log(coarse)), (log(coarse), log(losses))):
        found = align(left, right)
        assert found.steps.tolist() == list(coarse)
        assert found.left == pytest.approx(found.right)
        assert (found.only_left, found.only_right, found.window) == (0, 0, k)


def test_a_first_step_that_is_logged_alone_keeps_its_own_block() -> None:
    fine = [float(n) for n in range(1, 31)]
    found = align(log(fine), log({1: 1.0, 10: 6.0, 20: 15.5, 30: 25.5}))
    assert found.steps.tolist() == [1, 10, 20, 30]
    assert found.left.tolist() == found.right.tolist()


def test_windows_that_share_only_a_multiple_meet_there() -> None:
    losses = [1 / n for n in range(1, 61)]
    two = {end: math.fsum(losses[end - 2 : end]) / 2 for end in range(2, 61, 2)}
    three = {end: math.fsum(losses[end - 3 : end]) / 3 for end in range(3, 61, 3)}
    found = align(log(two), log(three))
    assert (found.window, found.steps.tolist()) == (6, list(range(6, 61, 6)))
    assert found.left == pytest.approx(found.right)


def test_a_missing_point_costs_its_block_and_nothing_else() -> None:
    losses = {n: 1 / n for n in range(1, 31)}
    coarse = {n: sum(losses[i] for i in range(n - 4, n + 1)) / 5 for n in range(5, 31, 5)}
    del losses[7]
    found = align(log(losses), log(coarse))
    assert (found.steps.tolist(), found.only_right) == ([5, 15, 20, 25, 30], 1)
    assert found.left == pytest.approx(found.right)


def test_the_arithmetic_against_pandas() -> None:
    chance = np.random.default_rng(7)
    right = 3 * np.exp(-np.arange(100) / 30) + 0.02
    left = right * (1 + chance.normal(0, 0.01, 100))
    numbers = statistics(align(log(left.tolist()), log(right.tolist())))
    frame = pd.DataFrame({"left": left, "right": right}, index=np.arange(1, 101))
    frame["absolute"] = (frame.left - frame.right).abs()
    usable = frame[frame.right >= 0.05]
    relative = usable.absolute / usable.right
    assert numbers.abs_error.max == pytest.approx(frame.absolute.max())
    assert numbers.abs_error.mean == pytest.approx(frame.absolute.mean())
    assert numbers.abs_error.max_step == frame.absolute.idxmax()
    assert numbers.rel_error.max == pytest.approx(relative.max())
    assert numbers.rel_error.mean == pytest.approx(relative.mean())
    assert numbers.rel_error.max_step == relative.idxmax()
    assert numbers.mean_rel_error == pytest.approx(abs(frame.left.mean() / frame.right.mean() - 1))
    blocks = (frame.left - frame.right).groupby(np.arange(100) // 10).mean()
    half = 2.262 * blocks.sem() / frame.right.mean()
    assert numbers.bias.high == pytest.approx((numbers.bias.mean or 0) + half)
    assert numbers.bias.low == pytest.approx((numbers.bias.mean or 0) - half)


@real
def test_real_pairs_give_the_known_figures() -> None:
    """Two learning rates of ChatGLM2, and GPT-2 with and without DeepSpeed: both are known to be bad."""
    states = LOGS / "trainer_state"
    found = compare(read_log(states / "chatglm2_epoch50_5e-5"), read_log(states / "chatglm2_epoch50_1e-4"))
    numbers = found.statistics
    assert (numbers.points, round(numbers.abs_error.max or 0, 3), found.alignment.window) == (2380, 0.942, 10)
    assert numbers.abs_error.mean == pytest.approx(0.0286, abs=5e-5)
    assert numbers.mean_rel_error == pytest.approx(0.59, abs=5e-3)
    assert interval(numbers.bias) == (12.5, 106.2)
    assert (interval(numbers.gated_bias), numbers.gated_bias.points) == ((26.7, 44.0), 505)
    assert found.verdict is Verdict.FAIL
    folder = LOGS / "megatron_deepspeed"
    found = compare(
        read_log(folder / "bigscience_meg3d_n16_ds-on.out"), read_log(folder / "bigscience_meg3d_n16_ds-off.out")
    )
    numbers = found.statistics
    assert (numbers.points, found.alignment.only_left, found.alignment.only_right) == (49, 0, 13)
    assert (round(numbers.abs_error.max or 0, 1), round(numbers.abs_error.mean or 0, 1)) == (21.2, 10.3)
    assert (round(numbers.rel_error.max or 0, 2), round(numbers.rel_error.mean or 0, 2)) == (0.65, 0.43)
    assert interval(numbers.gated_bias) == (-61.6, -25.2)
    assert found.verdict is Verdict.FAIL
    longer, shorter = states / "chatglm2_epoch50_1e-4", LOGS / "llamafactory/chatglm2_lora_epoch25_1e-4"
    found = compare(read_log(longer), read_log(shorter))
    assert (found.statistics.points, found.statistics.near_zero) == (1190, 703)
    assert found.verdict is Verdict.INCONCLUSIVE


STEADY = [2 + 1 / n for n in range(1, 31)]


@pytest.mark.parametrize(
    ("run", "reference", "verdict", "told"),
    [
        (log(STEADY), log([x * 1.019 for x in STEADY]), Verdict.PASS, "limit ±2 %"),
        (log(STEADY), log([x * 1.03 for x in STEADY]), Verdict.FAIL, "-2.91 %, 95 % interval -3.08 % to -2.74 %"),
        (log(STEADY[:9]), log(STEADY), Verdict.INCONCLUSIVE, "10 common points are needed; 9 common points"),
        (
            log({n + 50: x for n, x in enumerate(STEADY)}),
            log(STEADY),
            Verdict.INCONCLUSIVE,
            "10 common points are needed; 0 common points",
        ),
        (
            log(STEADY, meta=Meta(global_batch=8, varying_batch=True)),
            log(STEADY, meta=Meta(global_batch=16)),
            Verdict.INCONCLUSIVE,
            "10 common points are needed; 0 common points",
        ),
        (
            log(STEADY[:5], dropped={NON_FINITE: 1}),
            log(STEADY),
            Verdict.FAIL,
            "non-finite losses of the run 1 (limit 0)",
        ),
        (
            log(STEADY),
            log(STEADY, dropped={NON_FINITE: 1}),
            Verdict.INCONCLUSIVE,
            "losses of the reference 1 (limit 0)",
        ),
        (log([0.004] * 20), log([0.001] * 20), Verdict.INCONCLUSIVE, "below 0.05 1 (limit 0.5)"),
        (
            log([0.04] * 20),
            log([0.001] * 20),
            Verdict.FAIL,
            "mean absolute error where the reference is below 0.05 0.039",
        ),
    ],
)
def test_verdicts(run: RunLog, reference: RunLog, verdict: Verdict, told: str) -> None:
    found = compare(run, reference)
    assert found.verdict is verdict
    assert verdict_line(found).startswith(f"{verdict}: ")
    assert told in verdict_line(found)


def test_what_differs_between_the_runs_is_told() -> None:
    found = align(log(STEADY, meta=Meta(seed=1, device="npu")), log(STEADY, meta=Meta(seed=2, device="cuda")))
    assert found.differences == {"seed": ("1", "2")}


def test_the_results_table_and_the_error_lines_have_their_usual_form() -> None:
    run = log(
        [0.9032] * 20,
        meta=Meta(device="npu"),
        final=Final(epochs=10, train_loss=0.9032, train_samples_per_second=11.378, train_steps_per_second=0.022),
    )
    reference = log([0.9031] * 20, final=Final(epochs=10.0, train_loss=0.90312, train_samples_per_second=9.3))
    lines = markdown_table(results_table(run, reference, "zh")).splitlines()
    assert lines[0] == "| Device | total epochs | train loss | train samples per second | train steps per second |"
    assert lines[2:] == ["| NPUs | 10.0 | 0.9032 | 11.378 | 0.022 |", "| Reference | 10.0 | 0.9031 | 9.3 | - |"]
    assert len(RESULTS) == 5
    found = compare(run, reference)
    assert error_lines(found, "zh") == (
        "绝对误差：最大值0.0001，平均值0.0001",
        "相对误差：最大值0.0001，平均值0.0001",
    )
    assert error_lines(found, "en")[0] == "Absolute error: max 0.0001, mean 0.0001"


def test_the_throughput_table_follows_from_the_time_of_a_step() -> None:
    """Baichuan2-7B on eight devices: 32 samples of 4096 tokens in 6.973 s; the slow first steps do not count."""
    meta = Meta(device="npu", model="Baichuan2-7B", world_size=8, global_batch=32, sequence_length=4096)
    times = [90.0] * 5 + [6.973] * 995
    points = points_of(((n, 1.0) for n in range(1, 1001)), seconds=times)
    run = RunLog(source="a", format="b", points=points, meta=meta)
    reference = log([1.0] * 1000, final=Final(train_runtime=5915.0, train_samples_per_second=5.41))
    table = speed_table(run, reference, "zh")
    assert table.headings == SPEED["zh"]
    assert table.rows[0] == ("NPUs", "Baichuan2-7B", "1000", "4.59", "2350", "6.973")
    assert table.rows[1] == ("参考", "Baichuan2-7B", "1000", "5.41", "-", "5.915")


def test_a_log_of_step_zero_alone_is_inconclusive() -> None:
    assert compare(log({0: 1.0}), log(STEADY)).verdict is Verdict.INCONCLUSIVE


def test_different_batches_meet_at_equal_samples() -> None:
    fine = {n: 1 / n for n in range(1, 41)}
    coarse = {n: (1 / (2 * n - 1) + 1 / (2 * n)) / 2 for n in range(1, 21)}
    found = compare(log(fine, meta=Meta(global_batch=8)), log(coarse, meta=Meta(global_batch=16)))
    assert (found.alignment.key, found.alignment.window) == ("samples", 16)
    assert found.alignment.places.tolist() == [16 * n for n in range(1, 21)]
    assert found.statistics.abs_error.max == pytest.approx(0)
    assert found.verdict is Verdict.PASS


def test_swapping_the_sides_turns_the_sign() -> None:
    here, there = log(STEADY), log([x * 1.01 + 0.01 for x in STEADY])
    one, other = compare(here, there).statistics, compare(there, here).statistics
    assert one.bias.mean is not None
    assert other.bias.mean is not None
    assert one.bias.mean * (one.mean_right or 0) == pytest.approx(-other.bias.mean * (other.mean_right or 0))
    assert one.abs_error.mean == pytest.approx(other.abs_error.mean)


@pytest.mark.parametrize(
    ("profile", "factor", "verdict"),
    [
        ("mindformers", 1.004, Verdict.PASS),
        ("mindformers", 1.02, Verdict.FAIL),
        ("mindspeed-ci", 1.019, Verdict.PASS),
        ("mindspeed-ci", 1.021, Verdict.FAIL),
        ("megatron", 1.049, Verdict.PASS),
        ("megatron", 1.06, Verdict.FAIL),
        ("exact", 1, Verdict.PASS),
        ("exact", 1 + 1e-15, Verdict.FAIL),
    ],
)
def test_each_profile_has_its_own_limits(profile: str, factor: float, verdict: Verdict) -> None:
    found = compare(log([x * factor for x in STEADY]), log(STEADY), profile=profile)
    assert (found.verdict, found.profile) == (verdict, profile)
    assert all(check.source for check in found.checks)


def test_a_recipe_may_set_limits_of_its_own() -> None:
    found = compare(log([x * 1.03 for x in STEADY]), log(STEADY), limits={"bias": 0.05})
    assert (found.verdict, found.checks[0].limit) == (Verdict.PASS, 0.05)


def test_too_few_points_give_no_figures() -> None:
    found = compare(log(STEADY[:9]), log(STEADY))
    assert (found.statistics.abs_error.mean, found.statistics.bias.mean) == (None, None)
    assert error_lines(found, "en") == ()


def test_the_recipe_knows_the_profiles() -> None:
    assert get_args(Report.model_fields["profile"].annotation) == tuple(PROFILES)


@real
@pytest.mark.parametrize(
    ("number", "low", "high"), [(1, -0.36, 2.69), (2, -0.67, 4.10), (3, -0.51, 3.01), (4, -1.01, 2.97)]
)
def test_repeats_of_one_job_cannot_be_told_apart_by_few_points(number: int, low: float, high: float) -> None:
    logs = [read_log(LOGS / f"mlperf/cisco_8xH200_llama2_70b_lora_result_{n}.txt") for n in (number, 0)]
    found = compare(*logs)
    bias = found.statistics.gated_bias
    assert (round(100 * (bias.low or 0), 2), round(100 * (bias.high or 0), 2)) == (low, high)
    assert (found.statistics.points, found.verdict) == (33, Verdict.INCONCLUSIVE)


def test_noise_is_the_references_own_error() -> None:
    chance = random.Random(5)
    references = [log([x + chance.uniform(-0.01, 0.01) for x in STEADY]) for _ in range(3)]
    found = compare(log([x + 0.02 for x in STEADY]), references[0], others=references[1:])
    means = [
        sum(abs(a - b) for a, b in zip(r.points.loss, references[0].points.loss, strict=True)) / len(STEADY)
        for r in references[1:]
    ]
    assert found.noise is not None
    assert found.noise.abs_error == pytest.approx(sum(means) / 2)
    assert found.noise.ratio == pytest.approx((found.statistics.abs_error.mean or 0) / found.noise.abs_error)
    assert "2 further runs" in noise_line(found, "en")
    assert noise_line(compare(log(STEADY), log(STEADY)), "en") == ""
