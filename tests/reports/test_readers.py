"""Every format, in its spellings, with what is dropped and why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from llmctl_reports.as_json import as_json
from llmctl_reports.document import blocks, markdown
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.profiles import Verdict
from llmctl_reports.readers import read_log
from llmctl_reports.readers.common import seconds_of
from llmctl_reports.readers.source import PIECE
from llmctl_reports.tables import points_csv
from llmctl_reports.values import BROKEN, DUPLICATE, NON_FINITE, NOT_LOGGED, SKIPPED, SUPERSEDED, Final, RunLog
from llmctl_reports.verdict import compare

SHARED = Path(__file__).resolve().parents[3] / "shared"
REFERENCE = SHARED / "reference/llamafactory"


def made(folder: Path, text: str, name: str = "a log 日志.txt") -> RunLog:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return read_log(path)


def points(log: RunLog) -> list[tuple[int, float]]:
    return list(zip(log.points.step.tolist(), log.points.loss.tolist(), strict=True))


def column(log: RunLog, name: str) -> list[float | None]:
    values = getattr(log.points, name)
    return [None] * len(log.points) if values is None else [None if v != v else v for v in values.tolist()]


def step(number: int, loss: float, **more: object) -> str:
    return json.dumps({"record": "step", "step": number, "loss": loss, **more}) + "\n"


def run(resumed: int = 0, **more: object) -> str:
    return json.dumps({"record": "run", "schema": 1, "resumed_from_step": resumed, **more}) + "\n"


def test_own_records_after_a_resume(tmp_path: Path) -> None:
    text = run(global_batch=8, device="npu") + step(1, 5) + step(2, 4) + step(3, 9) + step(4, 9)
    text += (
        run(2, global_batch=16) + step(3, 3.5, step_seconds=0.5, tokens=70) + step(4, float("nan")) + '{"record": "st'
    )
    log = made(tmp_path, text)
    assert points(log) == [(1, 5), (2, 4), (3, 3.5)]
    assert log.dropped == {SUPERSEDED: 2, NON_FINITE: 1, BROKEN: 1}
    assert (log.meta.global_batch, column(log, "seconds")[2], column(log, "tokens")[2]) == (16, 0.5, 70)
    assert log.final.train_loss is None


def test_a_run_folder_is_read_from_its_output(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output/steps.jsonl").write_text(run() + step(1, 2.5))
    (tmp_path / "trainer_log.jsonl").write_text('{"current_steps": 1, "loss": 9}\n')
    assert points(read_log(tmp_path)) == [(1, 2.5)]


STDOUT = {
    "numbers": "{'loss': 2.5, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 0.5}",
    "text": "{'loss': '2.5', 'grad_norm': '1.5', 'learning_rate': '5e-05', 'epoch': '0.5'}",
    "prefixed": "[INFO|2024-11-26 22:09:01] x.py:157 >> {'loss': 2.5, 'grad_norm': 1.5, 'learning_rate': 5.0000e-05}",
    "coloured": "\x1b[32m{'loss': 2.5, 'grad_norm': 1.5, 'learning_rate': 5e-05}\x1b[0m",
}


@pytest.mark.parametrize("spelling", STDOUT)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_hf_output_in_its_spellings(tmp_path: Path, spelling: str, ending: str) -> None:
    bars = ["Loading: 100%|##| 2/2 [00:00<00:00]", " 50%|## | 10/20 [00:01<00:01, 9it/s]", STDOUT[spelling]]
    bars += ["100%|###| 20/20 [00:02<00:00, 9it/s] {'loss': nan}", "{'train_runtime': '12', 'train_loss': '2.5'}"]
    log = made(tmp_path, ending.join(bars))
    assert points(log) == [(10, 2.5)]
    assert (column(log, "grad_norm"), column(log, "learning_rate")) == ([1.5], [5e-05])
    assert log.dropped == {NON_FINITE: 1}
    assert (log.final.train_runtime, log.final.train_loss, log.meta.total_steps) == (12, 2.5, 20)


def test_hf_output_without_steps_is_counted_and_told(tmp_path: Path) -> None:
    log = made(tmp_path, "{'loss': 2.0, 'train_runtime': 3.0}\n{'loss': 1.0}\n")
    assert points(log) == [(1, 2), (2, 1)]
    assert "counted" in log.notes[0]
    assert log.final.train_runtime is None
    assert "not used: train_runtime" in explain(log)


TOKENS = {
    "HF output": "{'loss': '2.5', 'num_input_tokens_seen': '1.024e+03', 'epoch': '0.5'}",
    "TRL": "{'loss': 2.5, 'num_tokens': 1024.0}",
    "trainer_log": '{"current_steps": 1, "loss": 2.5, "total_tokens": 1024}',
    "trainer_state": '{"log_history": [{"step": 1, "loss": 2.5, "num_input_tokens_seen": 1024}]}',
    "Megatron": "iteration 1/ 9 | consumed samples: 8 | consumed tokens: 1024 | lm loss: 2.5E+00 |",
    "W&B": "_step,train/loss,train/num_input_tokens_seen\n1,2.5,1024",
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_up_to_a_step(tmp_path: Path, name: str) -> None:
    assert column(made(tmp_path, TOKENS[name]), "tokens_seen") == [1024]
    assert column(made(tmp_path, re.sub(r"1\.?024(\.0|e\+03)?", "0", TOKENS[name])), "tokens_seen") == [None]


def test_trainer_log_with_and_without_results_beside_it(tmp_path: Path) -> None:
    lines = [{"current_steps": n, "total_steps": 20, "loss": 3 - n / 10, "lr": 1e-4, "epoch": n / 20} for n in (10, 20)]
    end = {"current_steps": 20, "total_steps": 20, "epoch": 1.0, "elapsed_time": "1 day, 0:00:10", "throughput": "0.00"}
    text = "\n".join(map(json.dumps, [*lines, lines[1], end])) + "\nhalf a li"
    log = made(tmp_path, text)
    assert points(log) == [(10, 2.0), (20, 1.0)]
    assert log.dropped == {DUPLICATE: 1, BROKEN: 1}
    assert (log.final.train_runtime, log.final.epochs, log.final.train_samples_per_second) == (86410, 1.0, None)
    (tmp_path / "all_results.json").write_text('{"train_loss": 1.5, "train_runtime": 7, "epoch": 1.0}')
    assert made(tmp_path, text).final.train_loss == 1.5
    assert seconds_of("soon") is None


ENDS = {
    "dict": "{'train_runtime': 919.5, 'train_loss': 2.5, 'train_samples_per_second': 1.5, 'epoch': 1.0}",
    "text": "{'train_runtime': '919.5', 'train_loss': '2.5', 'train_samples_per_second': '1.5', 'epoch': '1'}",
    "list": "***** train metrics *****\n  epoch         =        1.0\n  train_loss    =     2.5\n  train_runtime ="
    " 0:15:19.50\n  train_samples_per_second =      1.5\n",
    "list, prefixed": "[INFO|x.py:9] >> ***** train metrics *****\r\n[INFO|x.py:9] >>   epoch   = 1.0\r\n[INFO] >>   "
    "train_loss = 2.5\r\n[INFO] >>   train_runtime = 0:15:19.50\r\n[INFO] >>   train_samples_per_second =  1.5\r\n",
    "file": '{\n  "epoch": 1.0,\n "train_loss": 2.5,\n "train_runtime": 919.5,\n "train_samples_per_second": 1.5\n}',
}


@pytest.mark.parametrize("name", ENDS)
def test_metrics_of_the_end_alone_are_a_log_without_points(tmp_path: Path, name: str) -> None:
    log = made(tmp_path, ENDS[name])
    end = Final(train_loss=2.5, train_runtime=919.5, train_samples_per_second=1.5, epochs=1.0)
    assert (len(log.points), log.final) == (0, end)
    assert log.notes == ("this log holds no losses, only the metrics of its end",)
    assert "kept: no points" in explain(log)
    other = made(tmp_path, "".join(step(n, 3 - n / 50) for n in range(1, 51)), "other")
    for pair in ((log, log), (log, other), (other, log)):
        found = compare(*pair)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "2.5000" in markdown("both", blocks(pair[0], found, "en"))
    assert as_json([log], [])["runs"][0]["first"] is None
    assert points_csv(log, None).count("\n") == 1


def test_a_folder_with_its_results_alone(tmp_path: Path) -> None:
    (tmp_path / "all_results.json").write_text(ENDS["file"])
    assert read_log(tmp_path).final.train_loss == 2.5
    (tmp_path / "all_results.json").write_text(ENDS["file"][:-1])
    with pytest.raises(ReportError, match="no whole JSON"):
        read_log(tmp_path)


ENGINE = (
    "[2023-04-18 01:46:53,259] [INFO] [loss_scaler.py:181:update_scale] [deepspeed] OVERFLOW! Rank 0 Skipping step.\n"
    "[2023-04-18 01:47:08,966] [INFO] [logging.py:96:log_dist] [Rank 0] step={0}, skipped={1}, lr=[{2}, 1e-9], "
    "mom=[(0.9, 0.95), (0.9, 0.95)]\n"
    "[2023-04-18 01:47:08,966] [INFO] [timer.py:199:stop] epoch=0/micro_step={0}/global_step={0}, "
    "RunningAvgSamplesPerSec={3}, CurrSamplesPerSec=1.5, MemAllocated=2.46GB, MaxMemAllocated=8.5GB\n"
)


def test_the_lines_of_deepspeed_alone_hold_no_loss(tmp_path: Path) -> None:
    text = ENGINE.format(10, 4, 9.5e-6, 170.5) + ENGINE.format(20, 6, 9.25e-6, 171.5)
    for old, new in (("", ""), ("[Rank 0] step", "rank:0 step"), ("epoch=0/micro_step=20/global_step=20, ", "0/20, ")):
        log = made(tmp_path, text.replace(old, new))
        assert (log.format, len(log.points), log.dropped) == ("DeepSpeed", 0, {SKIPPED: 6})
        assert log.final == Final(train_samples_per_second=171.5)
        assert log.notes == ("DeepSpeed's own lines, up to step 20, hold no loss",)
        assert compare(log, log).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ReportError) as error:
        made(tmp_path, "".join(line for line in text.splitlines(True) if "SamplesPerSec" not in line))
    assert "hold no loss" in error.value.why


def test_the_lines_of_deepspeed_add_to_the_losses_beside_them(tmp_path: Path) -> None:
    text = "".join(
        ENGINE.format(n, 1, n / 1000, 20 + n) + f"{{'loss': {3 - n / 10}, 'step': {n}}}\n" for n in (1, 2, 3)
    )
    log = made(tmp_path, "x\n" * PIECE + ENGINE.format(9, 0, 1, 1) + "x\n" * PIECE + text)
    assert points(log) == [(1, 2.9), (2, 2.8), (3, 2.7)]
    assert (column(log, "learning_rate"), log.final.train_samples_per_second) == ([0.001, 0.002, 0.003], 23)
    assert log.dropped == {SKIPPED: 1}
    end = "{'train_runtime': 1, 'train_samples_per_second': 7, 'train_loss': 2}"
    own = made(tmp_path, text.replace("}", ", 'learning_rate': 0.5}") + end)
    assert (column(own, "learning_rate"), own.final.train_samples_per_second) == ([0.5, 0.5, 0.5], 7)


def test_trainer_state(tmp_path: Path) -> None:
    history = [{"step": 1, "loss": 2.0}, {"step": 1, "eval_loss": 7.0}, {"step": 2, "loss": 1.0}]
    state = {
        "max_steps": 2,
        "log_history": [*history, {"step": 2, "train_loss": 1.5, "train_runtime": 4.0, "epoch": 1}],
    }
    log = made(tmp_path, json.dumps(state))
    assert points(log) == [(1, 2), (2, 1)]
    assert (log.final.train_loss, log.final.epochs) == (1.5, 1)
    with pytest.raises(ReportError, match="no whole JSON"):
        made(tmp_path, json.dumps(state)[:-5])


def test_megatron_lines(tmp_path: Path) -> None:
    common = "elapsed time per iteration (ms): {} | learning rate: 1.0E-05 | global batch size:  8"
    text = f" iteration  1/ 9 | {common.format(900.0)} | number of skipped iterations: 1 |\n"
    text += f"[rank3:3]:  iteration 2/ 9 | {common.format('500.5/900.0')} | lm loss: 1.25E+01 | grad norm: 2.5 |\n"
    common += " | throughput per GPU (TFLOP/s/GPU): 9.5"
    text += f"iteration 3/ 9 | {common.format(500)} | lm-loss: 1.2E+01 | loss scale: -1.0 | grad norm: 0.000 |\n"
    text += f"iteration 4/ 9 | {common.format(500)} | grad norm: nan | number of skipped iterations: 0 |\n"
    text += "iteration=5/9 | elapsed_time_per_iteration_ms=400.0 | lm loss=11.5 | global_batch_size= 8 |\n"
    text += "Training epoch 1, iteration 0/999 | lr: 1e-4 | reduced_train_loss: 11.03\n"
    log = made(tmp_path, text)
    assert points(log) == [(2, 12.5), (3, 12.0), (5, 11.5)]
    assert log.dropped == {SKIPPED: 1, NON_FINITE: 1}
    assert column(log, "grad_norm") == [2.5, None, None]
    assert column(log, "seconds") == [0.5005, 0.5, 0.4]
    assert log.unused == ("throughput per GPU (TFLOP/s/GPU)",)
    assert log.meta.global_batch == 8


def test_a_file_without_losses_tells_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(ReportError) as error:
        made(tmp_path, "nothing here\n")
    assert error.value.what == "no losses in this file"
    assert "Megatron" in error.value.why
    with pytest.raises(ReportError) as error:
        made(tmp_path, run() + step(1, float("nan")))
    assert "1 x non-finite loss" in error.value.why
    with pytest.raises(ReportError, match="no log in this folder"):
        read_log(tmp_path)
    with pytest.raises(ReportError, match="no such file"):
        read_log(tmp_path / "missing")


LINES = {
    "torchtitan": (
        "[rank0]:[titan] 2026-05-18 - root - INFO - step: 14  loss:  3.25  grad_norm:  0.5  memory: 9GiB  tps: 7,282",
        {"step": 14, "loss": 3.25, "grad_norm": 0.5},
    ),
    "torchtune": (
        "Step 7 | loss:1.25 lr:2e-05 tokens_per_second_per_gpu:512.5 grad_norm:0.75 ",
        {"step": 7, "loss": 1.25, "learning_rate": 2e-5, "grad_norm": 0.75},
    ),
    "MindFormers": (
        "INFO - { Epoch:[  2/  3], step:[    4/   10], loss: 9.5, per_step_time: 1752ms, lr: 1e-05, overflow cond:"
        " False, loss_scale: 1.0, global_norm: [10.5], train_throughput_per_npu: 170T",
        {"step": 14, "loss": 9.5, "seconds": 1.752, "learning_rate": 1e-5, "grad_norm": 10.5},
    ),
    "NeMo": (
        "(pid=1) Training epoch 1, iteration 0/9 | lr: 2.5e-06 | global_batch_size: 512 | global_step: 19 |"
        " reduced_train_loss: 11.25 | train_step_timing in s: 46.5 | consumed_samples: 10240",
        {"step": 19, "loss": 11.25, "seconds": 46.5, "learning_rate": 2.5e-6},
    ),
    "LitGPT": (
        "Epoch 1 | iter 2 step 1 | loss train: 1.660, val: n/a | iter time: 548.5 ms (step)",
        {"step": 2, "loss": 1.66, "seconds": 0.5485},
    ),
    "LitGPT before 0.4": (
        "iter 3 step 1: loss 1.6250, train time: 820.50ms (optimizer.step)",
        {"step": 3, "loss": 1.625, "seconds": 0.8205},
    ),
    "NeMo's progress bar": (
        "Epoch 0: :   1%|▏ | 5/500 [00:10<12:00, v_num=0, reduced_train_loss=10.75, global_step=4.000, "
        "consumed_samples=2560.0, train_step_timing in s=1.5]",
        {"step": 4, "loss": 10.75, "seconds": 1.5},
    ),
    "torchtune's progress bar": (
        "1|25|Loss: 1.1875:   5%|▌  | 25/500 [00:40<12:30,  1.58s/it]",
        {"step": 25, "loss": 1.1875},
    ),
    "DeepSpeed's pipeline": (
        "steps: 10 loss: 2.3125 iter time (s): 0.500 samples/sec: 64.000",
        {"step": 10, "loss": 2.3125, "seconds": 0.5},
    ),
    "llm.c of spring 2024": (
        "step 7/74: train loss 4.3750 (acc 4.3750) (129.500000 ms, 31620.2 tok/s)",
        {"step": 7, "loss": 4.375, "seconds": 0.1295},
    ),
    "nanoGPT": ("iter 5: loss 4.5, time 120.50ms, mfu 12.00%", {"step": 5, "loss": 4.5, "seconds": 0.1205}),
    "llm.c": (
        "step    3/19560 | loss 10.5 (+nanz)| norm 2.5 (+nanz)| lr 1.00e-06 | 250.50 ms | 53.0% bf16 MFU | 17 tok/s",
        {"step": 3, "loss": 10.5, "grad_norm": 2.5, "learning_rate": 1e-6, "seconds": 0.2505},
    ),
    "llm.c main.log": (
        "s:2 trl:10.75 lr:0.000003 norm:14.5",
        {"step": 2, "loss": 10.75, "learning_rate": 3e-6, "grad_norm": 14.5},
    ),
    "modded-nanogpt": (
        "step:5/9536 train_loss:7.5 train_time:600ms step_avg:120.00ms",
        {"step": 5, "loss": 7.5, "seconds": 0.12},
    ),
    "table": (
        'Step,"mine - train/loss","mine - train/grad_norm"\n4,2.5,0.5\n5,,',
        {"step": 4, "loss": 2.5, "grad_norm": 0.5},
    ),
    "golden values": ('{"lm loss": {"start_step": 2, "values": {"2": 10.5}}, "x": 1}', {"step": 2, "loss": 10.5}),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_point_of_every_other_format(tmp_path: Path, name: str, ending: str) -> None:
    text, values = LINES[name]
    log = made(tmp_path, text.replace("\n", ending or "\n") + ending)
    assert (log.format, len(log.points)) == (name, 1)
    assert {key: getattr(log.points, key)[0] for key in values} == pytest.approx(values)


TABLES = {
    "of W&B": 'Step,"mine - train/loss","mine - train/loss__MIN","mine - train/loss__MAX"\n1,2.5,2,3\n2,2.25,2,3\n',
    "of W&B, several runs": 'Step,"a - train/loss","b - train/loss"\n1,2.5,7\n2,2.25,8\n',
    "of W&B's history": '{"_step": 5, "train/global_step": 1, "train/loss": 2.5, "_runtime": 3}\n{"_step": 6, "x": 1}\n'
    '{"_step": 7, "train/global_step": 2, "train/loss": 2.25}\n{"_step": 8, "train_loss": 2.4}\n',
    "of TensorBoard": "Wall time,Step,Value\n1.5,1,2.5\n2.5,2,2.25\n",
    "of a notebook": "| Step | Training Loss |\n|---|---|\n| 1 | 2.500000 |\n| 2 | 2.250000 |\n",
    "with semicolons": "step;lr;loss\n1;1e-3;2.5\n2;1e-3;2.25\n",
    "with the last value missing": "step,loss,eval\n1,2.5,1\n2,2.25\n",
    "with names in capitals": "\ufeffStep,Loss\r\n1,2.5\r\n2,2.25\r\n",
}


IN_MARKDOWN = [name for name, text in TABLES.items() if not text.startswith("{")]


@pytest.mark.parametrize(("name", "quoted"), [*((n, False) for n in TABLES), *((n, True) for n in IN_MARKDOWN)])
def test_tables_of_others(tmp_path: Path, name: str, quoted: bool) -> None:
    log = made(tmp_path, f"# A run\n\nIts losses, step by step:\n```\n{TABLES[name]}```\n" if quoted else TABLES[name])
    assert (log.format, points(log)) == ("table", [(1, 2.5), (2, 2.25)])
    assert bool(log.notes) == ("several" in name)


def test_logs_that_markdown_quotes(tmp_path: Path) -> None:
    quotes = {name: text for name, (text, _) in LINES.items() if name not in ("table", "golden values")}
    quotes |= {"trainer_log.jsonl": '{"current_steps": 1, "total_steps": 2, "loss": 2.5}', "steps.jsonl": step(1, 2.5)}
    quotes |= {"HF Trainer output": "{'loss': 2.5, 'step': 1}", "Megatron": "iteration 1/ 2 | lm loss: 2.5E+00 |"}
    for name, text in quotes.items():
        for before in ("", "    ", "> "):
            log = made(tmp_path, f"# A run\n\nThe loss falls:\n```text\n{before}{text.strip()}\n```\nand so on.\n")
            assert (log.format, len(log.points)) == (name, 1)


def test_tables_in_their_spellings(tmp_path: Path) -> None:
    tabs = "step\tloss\tlr\n1\t2.5\t1e-3\n2\t2.25\t1e-3\n"
    lines = '{"_step": 1, "train/loss": 2.5}\n{"_step": 1, "eval": 3}\n{"_step": 2, "train/loss": 2.25}\n{"_st'
    for text, dropped in ((tabs, {}), (lines, {BROKEN: 1}), ("\ufeff" + tabs, {})):
        log = made(tmp_path, text)
        assert (points(log), log.dropped) == ([(1, 2.5), (2, 2.25)], dropped)


@pytest.mark.parametrize(
    "middle",
    [
        "loss:[{0}/9.125], per_step_time: 40ms, lr: [1.e-05], overflow cond: False, global_norm: [10.5]",
        "loss: {0}, lm_loss: 2.250, aux_loss: 0.125, per_step_time: 40ms, lr: 1e-05, overflow cond: False",
        "loss:[{0}/9.125], time:40.000 ms, lr:0.00001, overflow cond: False, loss_scale: 128.0",
    ],
    ids=["not sunk", "losses apart", "older"],
)
@pytest.mark.parametrize("first", [0, 1])
def test_mindformers_in_its_spellings(tmp_path: Path, middle: str, first: int) -> None:
    places = [(first, 9), (first, 10), (first + 1, 1)]
    line = "INFO - {{ Epoch:[{1:3d}/  2], step:[{2:5d}/   10], " + middle + " }}"
    log = made(tmp_path, "\n".join(line.format(3 - n / 8, *place) for n, place in enumerate(places)))
    assert (log.format, points(log)) == ("MindFormers", [(9, 3.0), (10, 2.875), (11, 2.75)])
    assert (column(log, "seconds"), column(log, "learning_rate")) == ([0.04] * 3, [1e-5] * 3)


def test_rounded_steps_of_a_bar_are_none(tmp_path: Path) -> None:
    bar = (
        "Epoch 0: : 9%|▏ | 5/500 [00:10<12:00, reduced_train_loss={}, lr=2.73e-5, global_step={}, consumed_samples=2]\r"
    )
    places = ("0.000", "1.000", "39.00", "188.0", "2e+3", "1.23e+3", "12e+3")
    log = made(tmp_path, "".join(bar.format(n / 4, place) * 2 for n, place in enumerate(places, 1)))
    assert points(log) == [(0, 0.25), (1, 0.5), (39, 0.75), (188, 1.0)]
    assert any("rounds its steps" in note for note in log.notes)


def test_a_loss_of_zero_that_was_not_measured(tmp_path: Path) -> None:
    line = "{{ Epoch:[  1/  2], step:[    {}/   10], loss: {}, per_step_time: 10ms, lr: 0.0, x }}\n"
    log = made(tmp_path, line.format(1, "0.000") + line.format(2, "5.5"))
    assert (points(log), log.dropped) == ([(2, 5.5)], {NOT_LOGGED: 1})


def test_mlperf_counts_samples(tmp_path: Path) -> None:
    def event(key: str, value: object, time: int = 0, **about: object) -> str:
        return "0: :::MLLOG " + json.dumps({"key": key, "value": value, "time_ms": time, "metadata": about}) + "\n"

    text = event("global_batch_size", 8) + event("seed", 7) + event("train_loss", 2.5, 1000, samples_count=80, lr=1e-3)
    text += event("tracked_stats", {"reduced_train_loss": 2.25}, 6000, samples_count=120) + ':::MLLOG {"key": }\n'
    log = made(tmp_path, text)
    assert points(log) == [(10, 2.5), (15, 2.25)]
    assert (column(log, "seconds"), log.meta.global_batch, log.meta.seed) == ([None, 1.0], 8, 7)
    assert log.dropped == {BROKEN: 1}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference logs are not there")
@pytest.mark.parametrize("case", ["sft_full", "sft_lora", "pt_full", "dpo_lora"])
def test_three_logs_of_one_real_run_agree(case: str) -> None:
    state, log, output = (
        read_log(REFERENCE / case / n) for n in ("trainer_state.json", "trainer_log.jsonl", "stdout.log")
    )
    assert points(state) == points(log)
    assert output.points.step.tolist() == state.points.step.tolist()
    assert output.points.loss == pytest.approx(state.points.loss, rel=5e-4)
    assert state.points.loss.mean() == pytest.approx(state.final.train_loss, abs=1e-6)


def test_a_format_can_be_given_and_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "both.log"
    path.write_text("{'loss': 2.5, 'step': 1}\nstep:1/9 train_loss:3.5\n{'loss': nan, 'step': 2}\n")
    assert points(read_log(path)) == [(1, 2.5)]
    other = read_log(path, "modded-nanogpt")
    assert points(other) == [(1, 3.5)]
    assert explain(other)[1] == "kept: 1 points, steps 1 to 1, one every 1"
    assert "left out: 1 x non-finite loss" in explain(read_log(path))
    with pytest.raises(ReportError, match="no format 'nonsense'"):
        read_log(path, "nonsense")


def test_an_unknown_format_shows_the_nearest_lines(tmp_path: Path) -> None:
    with pytest.raises(ReportError) as error:
        made(tmp_path, "hello\nround 5: Loss was 3.25\n")
    assert "round 5: Loss was 3.25" in error.value.why


def test_the_nearest_lines_come_first_wherever_they_are(tmp_path: Path) -> None:
    noise = "Using a loss of the usual kind\n" * 5 + "x\n" * (PIECE // 2)
    with pytest.raises(ReportError) as error:
        made(tmp_path, noise + "at step 7 the loss is 2.5\x1b]0;title\x07\nand the loss was good\n" + noise)
    told = error.value.why.splitlines()
    assert told[1].strip() == "at step 7 the loss is 2.5?]0;title?"
    assert len(told) == 2
    with pytest.raises(ReportError) as error:
        made(tmp_path, "epoch 1 of 3, accuracy 0.5\nbye\n")
    assert "epoch 1 of 3" in error.value.why
    with pytest.raises(ReportError) as error:
        made(tmp_path, "\x00\x01" * 5000)
    assert "nearest" not in error.value.why
