"""Wrong input to the engine: a message for a person, and no half result."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from llmctl_engine.config import LoraSettings, ModelConfig

from tests.engine.runs import run, small_config

pytestmark = pytest.mark.engine
torch = pytest.importorskip("torch", reason="the engine needs torch")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model folder."""
    folder = tmp_path_factory.mktemp("trained")
    ended = run(small_config(folder, max_steps=1), folder)
    assert ended.codes == [0], ended.text
    return ended.output


def test_a_loss_that_is_not_finite_stops_the_run(trained: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(trained, tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    weights["lm_head.weight"][5] = float("nan")
    save_file(weights, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    config = replace(small_config(tmp_path), model=ModelConfig(path=str(tmp_path / "model")))
    ended = run(config, tmp_path / "run", extra={"LLMCTL_LOG_DIR": str(tmp_path / "logs"), "LLMCTL_NODE": "n1"})
    assert ended.codes == [1]
    told = json.loads((tmp_path / "logs/rank0.error.json").read_text())
    assert told["node"] == "n1"
    assert told["message"].startswith("the loss of step 1 is not finite: rank 0, micro batch 1 of 2 (numbers row ")
    assert not list(ended.output.glob("*.safetensors"))
    assert [record["record"] for record in ended.records] == ["run"]


def _model_error(config_path: str, tmp_path: Path) -> str:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.model import load_model
    from llmctl_engine.tokenizer import train_tokenizer

    config = replace(small_config(tmp_path), model=ModelConfig(path=config_path))
    with pytest.raises(EngineError) as caught:
        load_model(config, train_tokenizer([], vocab_size=300))
    return str(caught.value)


def test_weights_that_are_no_model(trained: Path, tmp_path: Path) -> None:
    assert "has no config.json" in _model_error(str(tmp_path), tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    (broken / "model.safetensors").write_bytes(b"no weights at all")
    assert "model.safetensors is cut off or broken" in _model_error(str(broken), tmp_path)


def test_weights_that_lack_a_part_are_not_made_up(trained: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(trained, tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    message = _model_error(str(tmp_path / "model"), tmp_path)
    assert "lacks 1 of the model's weights: model.layers.1.mlp.up_proj.weight" in message


def test_a_template_of_another_model_is_told(tmp_path: Path) -> None:
    from llmctl_engine.encoder import Encoder
    from llmctl_engine.errors import EngineError
    from llmctl_engine.tokenizer import train_tokenizer

    with pytest.raises(EngineError, match="the tokenizer has no <reserved_102>, <reserved_103>, which the template"):
        Encoder(train_tokenizer([], vocab_size=300), "baichuan@0.2.0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cuda"}, "cluster.device is cuda, but torch found cpu here"),
        ({"device": "npu"}, "torch_npu cannot be imported"),
        ({"world_size": 3}, "launched with 1 processes, planned were 3"),
    ],
)
def test_another_place_than_planned(change: dict[str, object], message: str, tmp_path: Path) -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.train import train

    # It names the accelerator to DeepSpeed, for this process and all that it starts.
    with patch.dict(os.environ), pytest.raises(EngineError, match=message):
        train(replace(small_config(tmp_path), **change))  # type: ignore[arg-type]


def test_lora_targets_that_are_not_there(tmp_path: Path) -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.model import load_model
    from llmctl_engine.tokenizer import train_tokenizer

    config = small_config(tmp_path, method="lora", lora=LoraSettings(targets=("W_pack",)))
    with pytest.raises(EngineError, match=r"train\.lora: .*W_pack"):
        load_model(config, train_tokenizer([], vocab_size=300))


def test_a_deepspeed_file_that_the_installed_version_refuses(tmp_path: Path) -> None:
    from llmctl_engine.deepspeed_file import load_deepspeed
    from llmctl_engine.errors import EngineError

    path = tmp_path / "ds_config.json"
    path.write_text(json.dumps({"train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": True, "loss_scale": 0}}))
    with pytest.raises(EngineError, match=r"DeepSpeed \S+ refuses .*loss_scale"):
        load_deepspeed(str(path), "gloo")


def test_logits_exist_for_labelled_positions_only(tmp_path: Path) -> None:
    from llmctl_engine.loss import LabelledLoss
    from llmctl_engine.model import load_model
    from llmctl_engine.tokenizer import train_tokenizer

    model = load_model(small_config(tmp_path), train_tokenizer([], vocab_size=300))
    loss = LabelledLoss(model)
    ids = torch.arange(24).reshape(2, 12) % 200
    labels = torch.full_like(ids, -100)
    labels[0, 9:], labels[1, 4:6] = ids[0, 9:], ids[1, 4:6]
    whole = model(input_ids=ids, labels=labels).loss
    loss.expect({"labels": labels})
    outputs = model(input_ids=ids)
    assert outputs.logits.shape == (5, model.config.vocab_size)
    assert float(loss(outputs, labels, 5)) == pytest.approx(float(whole), rel=1e-6)
    assert [float(value) for value in loss.take()] == pytest.approx([5 * float(whole)], rel=1e-6)
    assert loss.take() == []
