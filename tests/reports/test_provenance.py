"""Every row of the sample logs' PROVENANCE.md whose file is there: the numbers that a reader must recover."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from llmctl_reports.errors import ReportError
from llmctl_reports.readers import read_log
from llmctl_reports.values import DUPLICATE, NON_FINITE, SKIPPED, SUPERSEDED, RunLog

LOGS = Path(__file__).resolve().parents[3] / "shared/samples/logs"
pytestmark = pytest.mark.skipif(not LOGS.is_dir(), reason="the sample logs are not beside this checkout")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is expected of a file."""

    points: int
    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None
    end: tuple[float | None, ...] = (None, None, None, None)
    """Train loss, run time, samples and steps per second."""
    dropped: tuple[tuple[str, int], ...] = ()
    seconds: tuple[float, float] | None = None
    """Of the first and the last step."""


EPOCH50 = Row(
    points=2380, first=(10, 3.9862), last=(23800, 0.0018), end=(0.07688915230271196, 23850.5197, 15.985, 0.998)
)
EPOCH50_FASTER = Row(
    points=2380, first=(10, 3.5664), last=(23800, 0.0005), end=(0.04825639125679721, 25145.5255, 15.162, 0.946)
)
EPOCH25 = Row(
    points=1190, first=(10, 3.5663), last=(11900, 0.0023), end=(0.09297465862721956, 13190.0841, 14.452, 0.902)
)
QWEN = Row(points=675, first=(10, 2.219), last=(6750, 1.5999), end=(1.6923917185465496, 24486.754, 2.205, 0.276))

ROWS = {
    "hf_stdout/ezpz_aurora_24xpu_hf_trainer_doc.md": Row(
        points=16, first=(1, 2.5586), last=(16, 2.3369), end=(2.489668021202087, 425.4295, 5.641, 0.235)
    ),
    "hf_stdout/ezpz_slides_hf_trainer_doc.md": Row(
        points=20, first=(1, 2.847), last=(20, 2.8064), end=(2.977239990234375, 27.2171, 70.544, 0.367)
    ),
    "hf_stdout/bigscience_hf_ds_gpt2_n4_2021_metricsblock.out": Row(points=0, end=(None, 919.0933, 1.088, 0.017)),
    "hf_stdout/bigscience_hf_ds_gpt2_n16_2021_rankrepeated.out": Row(points=0, end=(None, 273.0149, 3.663, 0.007)),
    "axolotl/issue3196_excerpt.TRANSCRIBED.log": Row(points=5, first=(1, 4.75), last=(5, 0.2031)),
    "trainer_state/chatglm2_epoch50_5e-5/trainer_state.json": EPOCH50,
    "trainer_state/chatglm2_epoch50_1e-4/trainer_state.json": EPOCH50_FASTER,
    "llamafactory/chatglm2_lora_epoch25_1e-4/*r_*": EPOCH25,
    "llamafactory/chatglm2_lora_epoch50/*r_*": EPOCH50,
    "llamafactory/chatglm2_lora_epoch50_1e-4/*r_*": EPOCH50_FASTER,
    "llamafactory/qwen2.5-7b-medical-finetune/*r_*": QWEN,
    "llamafactory/chatglm2_lora_epoch25_1e-4/*_results.json": Row(points=0, end=EPOCH25.end),
    "llamafactory/chatglm2_lora_epoch50/*_results.json": Row(points=0, end=EPOCH50.end),
    "llamafactory/chatglm2_lora_epoch50_1e-4/*_results.json": Row(points=0, end=EPOCH50_FASTER.end),
    "llamafactory/qwen2.5-7b-medical-finetune/*_results.json": Row(points=0, end=QWEN.end),
    "megatron_deepspeed/bigscience_meg3d_n16_ds-off.out": Row(
        points=62, first=(1, 12.44238), last=(62, 20.43871), seconds=(144.9156, 125.2478)
    ),
    "megatron_deepspeed/bigscience_meg3d_n16_ds-on.out": Row(
        points=49, first=(1, 12.44238), last=(49, 7.747273), seconds=(159.7789, 136.3288)
    ),
    "megatron_deepspeed/bigscience_zero_n16_nbs48.out": Row(points=3, first=(1, 12.52221), last=(3, 40.75231)),
    "megatron/bigscience_meg_gpt2_base_n4.out": Row(
        points=19, first=(20, 12.03115), last=(200, 7.365868), dropped=((SKIPPED, 1),), seconds=(1.3549, 1.3822)
    ),
    "megatron/bigscience_meg_gpt2_base_n8.out": Row(
        points=19, first=(20, 12.10588), last=(200, 7.534106), dropped=((SKIPPED, 1),)
    ),
    "megatron/mindspeed_llm_fsdp2_npu_quickstart_excerpt.md": Row(
        points=3, first=(1, 3.316887), last=(3, 2.669216), dropped=((SUPERSEDED, 3),)
    ),
    "megatron/aws_megatron_slurm_readme_excerpt.md": Row(
        points=3, first=(25, 10.86954), last=(27, 10.87129), dropped=((SKIPPED, 3),), seconds=(0.087, 0.0884)
    ),
    "deepspeed/dschat_sft_opt1.3b_gbs128.log": Row(
        points=0, end=(None, None, 171.7425285021646, None), dropped=((SKIPPED, 139),)
    ),
    "deepspeed/alcf_cooldown_aurora_log.md": Row(
        points=7, first=(136004, 12.316531), last=(136010, 11.142616), end=(None, None, 2327.316936098493, None)
    ),
    "torchtitan/pr3393_rank0_excerpt.TRANSCRIBED.log": Row(points=8, first=(14, 3.24405), last=(21, 3.00867)),
    "torchtitan/pr2389_ranks_interleaved_excerpt.TRANSCRIBED.log": Row(
        points=2, first=(4, 7.62585), last=(5, 7.07623), dropped=((DUPLICATE, 6),)
    ),
    "mlperf/cisco_8xH200_llama2_70b_lora_result_0.txt": Row(
        points=33,
        first=(10, 2.0620665550231934),
        last=(330, 1.3241368532180786),
        end=(None, None, 2.510472189197003, None),
    ),
    "nemo/aws_nemo_k8s_readme_excerpt.md": Row(points=5, first=(19, 11.03), last=(48, 11.02), seconds=(46.86, 46.81)),
    "mindformers/high_availability_excerpt.md": Row(
        points=5, first=(1, 10.649), last=(5, 8.867), seconds=(103.328, 1.758)
    ),
    "litgpt/tutorial_excerpt.md": Row(points=10, first=(1, 1.646), last=(10, 1.524), seconds=(0.82031, 0.60303)),
    "nanogpt/llmc_main.log": Row(points=19560, first=(0, 11.0091), last=(19559, 3.2217)),
    "nanogpt/modded_nanogpt_adamw.log": Row(points=9536, first=(1, 10.965596), last=(9536, 3.340180)),
    "golden/modellink/baichuan2_13B_tp8_pp1_ptd.json": Row(points=20, first=(1, 1.095688), last=(20, 0.950039)),
    "golden/megatron_lm/*.json": Row(points=50, first=(1, 10.95937), last=(50, 10.14533)),
}
"""By path; a pattern stands for files that hold the same."""
NO_LOSSES = {
    "megatron/bigscience_meg_perf_n16_allskipped.out": f"3 x {SKIPPED}",
    "megatron_deepspeed/issue396_nan_loss_missing_excerpt.TRANSCRIBED.log": f"3 x {NON_FINITE}",
}
ELSEWHERE = ("golden/mindspeed_llm/", "golden/modellink/llama2", "mlperf/", "megatron_deepspeed/alcf_deprecated")
"""What the tests below the first look at, file by file."""


def files(pattern: str) -> list[Path]:
    return sorted(LOGS.glob(pattern))


def ends(log: RunLog) -> list[tuple[int, float]]:
    return [(int(log.points.step[at]), float(log.points.loss[at])) for at in (0, -1)]


@pytest.mark.parametrize("pattern", ROWS)
def test_a_row_gives_its_numbers(pattern: str) -> None:
    row = ROWS[pattern]
    if not files(pattern):
        pytest.skip("this file was left out of the samples")
    for path in files(pattern):
        log = read_log(path)
        assert len(log.points) == row.points
        if row.points:
            assert ends(log) == [row.first, row.last]
        final = log.final
        speeds = (final.train_samples_per_second, final.train_steps_per_second)
        assert (final.train_loss, final.train_runtime, *speeds) == row.end
        assert log.dropped == dict(row.dropped)
        if row.seconds:
            assert log.points.seconds is not None
            assert log.points.seconds[[0, -1]].tolist() == pytest.approx(row.seconds)


@pytest.mark.parametrize("path", NO_LOSSES)
def test_a_log_without_losses_is_refused_with_the_count(path: str) -> None:
    with pytest.raises(ReportError) as error:
        read_log(LOGS / path)
    assert NO_LOSSES[path] in error.value.why


def test_golden_values_are_those_of_the_json() -> None:
    for path in [*files("golden/mindspeed_llm/*.json"), *files("golden/modellink/*.json")]:
        assert read_log(path).points.loss.tolist() == json.loads(path.read_text())["lm loss"]


def test_repeats_of_one_job() -> None:
    for path in files("mlperf/*.txt"):
        events = [line.split(":::MLLOG ", 1)[1] for line in path.read_text().splitlines() if ":::MLLOG" in line]
        losses = [event["value"] for event in map(json.loads, events) if event["key"] == "train_loss"]
        log = read_log(path)
        assert (log.points.loss.tolist(), log.meta.global_batch) == (losses, 8)
        assert log.points.step.tolist() == [10 * n for n in range(1, len(losses) + 1)]


def test_runs_that_follow_each_other_in_one_file_are_segments() -> None:
    for name, segments in {
        "megatron/mindspeed_llm_fsdp2_npu_quickstart_excerpt.md": [1.304194, 3.316887],
        "megatron_deepspeed/alcf_deprecated_excerpt.md": [11.17136, 11.19983],
    }.items():
        path = LOGS / name
        assert [read_log(path, segment=n + 1).points.loss[0] for n in range(len(segments))] == segments


def test_a_placeholder_is_no_gradient_norm() -> None:
    on, off = (read_log(LOGS / f"megatron_deepspeed/bigscience_meg3d_n16_ds-{name}.out") for name in ("on", "off"))
    assert on.points.grad_norm is None
    assert off.points.grad_norm is not None


def test_the_mean_of_the_logged_losses_is_the_train_loss() -> None:
    """A line that was missed would show."""
    for folder in files("llamafactory/chatglm2*"):
        log = read_log(folder)
        assert log.points.loss.mean() == pytest.approx(log.final.train_loss, abs=1e-6)


def test_no_file_is_without_a_row() -> None:
    held = {path for pattern in (*ROWS, *NO_LOSSES) for path in files(pattern)}
    others = {path.relative_to(LOGS).as_posix() for path in LOGS.rglob("*") if path.is_file()} - {
        path.relative_to(LOGS).as_posix() for path in held
    }
    assert [name for name in others if not name.startswith(ELSEWHERE)] == ["PROVENANCE.md"]
