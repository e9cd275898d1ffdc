"""ds_config.json: what follows from the recipe, what the lint refuses, and whether DeepSpeed itself agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import ManyErrors
from llmctl.recipe.hosts import parse_nodes
from llmctl.recipe.schema import Recipe
from llmctl.render.deepspeed import ds_config, known_keys
from llmctl.run.plan import NodePaths, Plan, make_plan


def plan_with(deepspeed: dict[str, Any] | None, **train: Any) -> Plan:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "cluster": {"device": "cuda", "nodes": ["node[1-2]"], "devices_per_node": 8, "workdir": "/data"},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
            "train": {"micro_batch": 4, "grad_accum": 8, "precision": "bf16", "max_grad_norm": 0.0} | train,
            "deepspeed": deepspeed,
        }
    )
    paths = NodePaths(run_dir="/data/runs/r", engine_dir="/e", data_dir="/d", model_path="/m", adapter_path=None)
    return make_plan(recipe, parse_nodes(["node[1-2]"]), run_id="r", paths=paths)


def written(deepspeed: dict[str, Any], **train: Any) -> dict[str, Any]:
    config = ds_config(plan_with(deepspeed, **train))
    assert config is not None
    return config


def mistakes(deepspeed: dict[str, Any]) -> list[str]:
    with pytest.raises(ManyErrors) as caught:
        ds_config(plan_with(deepspeed))
    return [str(error) for error in caught.value.errors]


def test_tensor_parallelism_is_refused() -> None:
    (mistake,) = mistakes({"stage": 2, "tensor_parallel": {"autotp_size": 2}})
    assert mistake.startswith("deepspeed.tensor_parallel: every device trains on rows of its own")


def test_batches_are_numbers_that_agree() -> None:
    config = written({"stage": 2})
    assert config["train_batch_size"] == 4 * 8 * 16
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (4, 8)


def test_clipping_is_written_even_when_it_is_off() -> None:
    assert written({"stage": 2})["gradient_clipping"] == 0.0


def test_no_optimizer_is_written() -> None:
    assert "optimizer" not in written({"stage": 2})


@pytest.mark.parametrize(
    ("precision", "wanted"), [("fp32", (False, False)), ("bf16", (True, False)), ("fp16", (False, True))]
)
def test_precision_switches_one_block_on(precision: str, wanted: tuple[bool, bool]) -> None:
    config = written({"stage": 2}, precision=precision)
    assert (config["bf16"]["enabled"], config["fp16"]["enabled"]) == wanted


def test_stage_3_gathers_whole_weights() -> None:
    assert written({"stage": 3})["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


def test_further_keys_are_merged_deeply() -> None:
    config = written({"stage": 2, "zero_optimization": {"overlap_comm": False}, "fp16": {"initial_scale_power": 12}})
    assert config["zero_optimization"] == {"stage": 2, "overlap_comm": False}
    assert config["fp16"] == {"enabled": False, "initial_scale_power": 12}


def test_without_the_block_nothing_is_written() -> None:
    assert ds_config(plan_with(None)) is None


def test_every_mistake_is_told_with_its_path() -> None:
    told = mistakes(
        {
            "stage": 2,
            "zero_optimisation": {},
            "zero_optimization": {"overlap_com": True, "stage": 3},
            "bf16": {"loss_scale": 0},
            "gradient_accumulation_steps": 3,
        }
    )
    assert len(told) == 5
    text = "\n".join(told)
    assert "deepspeed.zero_optimisation" in text
    assert "did you mean zero_optimization?" in text
    assert "did you mean overlap_comm?" in text
    assert "deepspeed.zero_optimization.stage" in text
    assert "deepspeed.bf16.loss_scale" in text  # DeepSpeed 0.19 refuses it, seed-era files have it
    assert "train.grad_accum" in text


@pytest.mark.parametrize("value", ["auto", 8])
def test_what_says_the_same_is_no_mistake(value: object) -> None:
    assert written({"stage": 2, "gradient_accumulation_steps": value})["gradient_accumulation_steps"] == 8


@pytest.mark.engine
def test_key_file_is_what_the_installed_deepspeed_accepts() -> None:
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.offload_config import (
        DeepSpeedZeroOffloadOptimizerConfig,
        DeepSpeedZeroOffloadParamConfig,
    )

    blocks = {
        "zero_optimization": DeepSpeedZeroConfig,
        "zero_optimization.offload_optimizer": DeepSpeedZeroOffloadOptimizerConfig,
        "zero_optimization.offload_param": DeepSpeedZeroOffloadParamConfig,
        "fp16": DeepSpeedFP16Config,
        "bf16": DeepSpeedBF16Config,
    }
    for block, model in blocks.items():
        accepted = {
            field.alias or name
            for name, field in model.model_fields.items()
            if not (field.json_schema_extra or {}).get("deprecated")
        }
        assert known_keys()[block] == accepted, block


@pytest.mark.engine
def test_top_level_keys_are_read_by_the_installed_deepspeed() -> None:
    import deepspeed

    sources = "".join(path.read_text("utf-8") for path in Path(deepspeed.__file__).parent.rglob("*.py"))
    missing = [key for key in known_keys()[""] if f'"{key}"' not in sources and f"'{key}'" not in sources]
    assert missing == []


@pytest.mark.engine
def test_installed_deepspeed_reads_what_is_written() -> None:
    from deepspeed.runtime.config import DeepSpeedConfig

    for stage in (0, 1, 2, 3):
        config = written({"stage": stage}, precision="fp32")
        config["train_batch_size"] = 4 * 8  # this process is the whole world here
        read = DeepSpeedConfig(config)
        assert read.gradient_clipping == 0.0
        assert read.zero_optimization_stage == stage
