"""Two processes against one, resuming, stopping: the losses are the same numbers."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llmctl_engine.checkpoint import good_steps

from tests.engine.runs import Ended, finish, packed, run, small_config, start, with_zero

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of one process with the global batch of eight."""
    folder = tmp_path_factory.mktemp("alone")
    ended = run(small_config(folder, micro_batch=2, grad_accum=4), folder)
    assert ended.codes == [0], ended.text
    return ended.losses


@pytest.mark.parametrize("stage", [None, 0, 2, 3])
def test_two_processes_lose_what_one_does(alone: list[float], stage: int | None, tmp_path: Path) -> None:
    config = replace(small_config(tmp_path, micro_batch=2, grad_accum=2), world_size=2)
    if stage is not None:
        config = with_zero(config, tmp_path, stage, 2)
    ended = run(config, tmp_path)
    assert ended.codes == [0, 0], ended.text
    assert ended.losses == pytest.approx(alone, abs=1e-4, rel=0)
    assert (ended.output / "model.safetensors").stat().st_size > 10_000


@pytest.mark.parametrize(("stage", "packing"), [(None, "none"), (2, "exact")])
def test_a_resumed_run_is_the_uninterrupted_one(stage: int | None, packing: str, tmp_path: Path) -> None:
    config = packed(small_config(tmp_path, epochs=2, save_steps=4, save_total_limit=2), packing)
    config = with_zero(config, tmp_path, stage, 2) if stage is not None else config
    whole = run(replace(config, output_dir=str(tmp_path / "whole")), tmp_path / "a")
    assert whole.codes == [0] * config.world_size, whole.text

    broken = replace(config, output_dir=str(tmp_path / "broken"))
    first = run(broken, tmp_path / "b")
    last = good_steps(first.output)[-1]
    assert good_steps(first.output) == [last - 4, last]
    (first.output / f"checkpoint-{last}" / "trainer_state.json").write_text("{")  # cut short: not good any more
    resumed = run(replace(broken, resume=True), tmp_path / "c")
    assert resumed.codes == [0] * config.world_size, resumed.text
    start_of = [record["resumed_from_step"] for record in resumed.records if record["record"] == "run"]
    assert start_of[1] == last - 4
    assert resumed.losses == whole.losses
    if packing == "exact":
        _proven(resumed)


def _proven(ended: Ended) -> None:
    """Packing was proven, and written down with what it saves."""
    assert "packed as separate: loss " in ended.text
    packing = json.loads((ended.output / "data_summary.json").read_text())["packing"]
    padding, proof = packing["padding"], packing["proof"]
    assert (packing["mode"], ended.records[0]["packing"]) == ("exact", "exact")
    assert packing["packs"] == ended.records[0]["packs"] < 30
    assert ended.records[0]["num_samples"] == 48
    assert padding["with"] < padding["without"]
    assert abs(proof["packed"] - proof["separate"]) <= proof["limit"]


def test_a_run_that_was_through_makes_no_further_step(tmp_path: Path) -> None:
    config = small_config(tmp_path, max_steps=4, save_steps=4)
    first = run(config, tmp_path / "a")
    weights = (first.output / "model.safetensors").read_bytes()
    (first.output / "model.safetensors").unlink()
    again = run(replace(config, resume=True), tmp_path / "b")
    assert first.codes == again.codes == [0], again.text
    assert [record["step"] for record in again.records if record["record"] == "step"] == [1, 2, 3, 4]
    assert (again.output / "model.safetensors").read_bytes() == weights
    assert json.loads((again.output / "all_results.json").read_text())["train_loss"] == pytest.approx(
        sum(first.losses) / 4, rel=1e-4
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_ends(number: signal.Signals, tmp_path: Path) -> None:
    config = replace(small_config(tmp_path, epochs=200, micro_batch=1, grad_accum=1), world_size=2)
    ranks = start(config, tmp_path, extra={"LLMCTL_LOG_DIR": str(tmp_path / "logs")})
    log = tmp_path / "logs" / "rank0.log"
    while not (log.exists() and "step 3/" in log.read_text()):
        assert ranks[0].code is None, log.read_text()
        time.sleep(0.05)
    ranks[1].signal(number)
    ended = finish(config, ranks)
    assert ended.codes == [128 + number] * 2, log.read_text()
    steps = [record["step"] for record in ended.records if record["record"] == "step"]
    assert good_steps(ended.output) == [steps[-1]]
    told = json.loads((tmp_path / "logs" / "rank0.error.json").read_text())
    assert told["type"] == "Stopped"
    assert f"checkpoint-{steps[-1]} is written" in told["message"]


@pytest.mark.parametrize(
    ("stage", "packing", "train"),
    [
        (None, "none", {"precision": "bf16"}),
        (2, "none", {"precision": "bf16", "gradient_checkpointing": True}),
        (3, "exact", {"method": "lora", "gradient_checkpointing": True, "epochs": 2}),
    ],
)
def test_precisions_and_lora_train_under_zero_too(
    stage: int | None, packing: str, train: dict[str, Any], tmp_path: Path
) -> None:
    config = packed(small_config(tmp_path, learning_rate=5e-3, **train), packing)
    config = with_zero(config, tmp_path, stage, 2) if stage is not None else config
    ended = run(config, tmp_path)
    assert ended.codes == [0] * config.world_size, ended.text
    assert ended.losses[-1] < ended.losses[0]
    weights = "adapter_model.safetensors" if "method" in train else "model.safetensors"
    assert (ended.output / weights).stat().st_size > 4_000


def test_lora_with_checkpointing_of_activations_trains_the_same(tmp_path: Path) -> None:
    plain = packed(small_config(tmp_path, method="lora"), "exact")
    first = run(plain, tmp_path / "a")
    saving = replace(
        plain, output_dir=str(tmp_path / "b" / "output"), train=replace(plain.train, gradient_checkpointing=True)
    )
    second = run(saving, tmp_path / "b")
    assert first.codes == second.codes == [0], first.text + second.text
    assert second.losses == pytest.approx(first.losses, abs=1e-6, rel=0)
    assert (second.output / "adapter_model.safetensors").is_file()
    assert not (second.output / "model.safetensors").exists()
