"""Folders as they come: in shards, told by the recipe what they are; LoRA through the engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llmctl_engine.config import LoraSettings, ModelConfig

from tests.engine.models.folders import Words, in_shards, load
from tests.engine.models.small import CONFIGS, small, token_ids
from tests.engine.runs import small_config

pytestmark = pytest.mark.engine
torch = pytest.importorskip("torch", reason="needs torch")


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_shards_give_the_model_back(name: str, pickled: bool, tmp_path: Path) -> None:
    model, ids = small(name), token_ids(1, 9)
    model.save_pretrained(tmp_path / "model")
    loaded = load(in_shards(tmp_path / "model", pickled=pickled), tmp_path)
    assert type(loaded) is type(model)
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_weights_of_before_2020_give_the_model_back(whole: Path, tmp_path: Path) -> None:
    """torch wrote plain pickles then, which cannot be mapped."""
    from safetensors.torch import load_file

    weights = load_file(whole / "model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    loaded = load(tmp_path, tmp_path)
    assert all(torch.equal(weight, weights[name]) for name, weight in loaded.named_parameters())


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("name", ["baichuan2-7b", "yuan"])
def test_shards_are_let_go_while_others_are_read(
    name: str, pickled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where weights are cast, no more of the files is mapped than the shard at hand and what the threads hold of
    others; at the end none."""
    from llmctl_engine.models.shards import Shards
    from transformers.core_model_loading import GLOBAL_WORKERS

    small(name, num_hidden_layers=8).to(torch.bfloat16).save_pretrained(tmp_path / "model")
    # in the order of their names, as published
    folder = in_shards(tmp_path / "model", pickled=pickled, parts=GLOBAL_WORKERS + 4, in_turns=False)

    def mapped() -> int:
        lines = Path("/proc/self/maps").read_text().splitlines()
        return len({line.split()[-1] for line in lines if str(folder) in line})

    counts: list[int] = []
    take = Shards.take

    def watched(self: Any, path: Path, weight: str) -> Any:
        tensor = take(self, path, weight)
        counts.append(mapped())
        return tensor

    monkeypatch.setattr(Shards, "take", watched)
    model = load(folder, tmp_path)
    assert counts, "the model was loaded another way"
    assert 1 <= max(counts) <= GLOBAL_WORKERS + 1
    assert (mapped(), model.dtype) == (0, torch.float32)


def test_what_zero_3_leaves_over_is_told(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers tells of no weights that the model has no place for, where it deals them out."""
    from llmctl_engine.models import shards
    from transformers import PreTrainedModel

    silent = SimpleNamespace(unexpected_keys=set())
    monkeypatch.setattr(shards, "is_deepspeed_zero3_enabled", lambda: True)
    monkeypatch.setattr(PreTrainedModel, "_load_pretrained_model", staticmethod(lambda *_: (silent, None)))
    settings = SimpleNamespace(device_map=None, hf_quantizer=None)
    model = small("baichuan2-13b", num_hidden_layers=1)
    loaded, _ = shards.load_shard_by_shard(model, None, [whole / "model.safetensors"], settings)
    assert {name.split(".")[2] for name in loaded.unexpected_keys} == {"1"}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_lora_trains_the_modules_of_the_family(attention: str, whole: Path, tmp_path: Path) -> None:
    model = load(whole, tmp_path, method="lora", lora=LoraSettings(targets=("W_pack",)), gradient_checkpointing=True)
    model.train().gradient_checkpointing_enable()
    model.base_model.model.set_attn_implementation(attention)
    ids = token_ids(2, 8)
    model(input_ids=ids, labels=ids).loss.backward()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name.split("self_attn.")[1].split(".")[0] for name in trained} == {"W_pack"}
    assert all(weight.grad is not None for name, weight in model.named_parameters() if name in trained)


def test_a_llama_folder_of_yuans_own_code_is_a_yuan(tmp_path: Path) -> None:
    from llmctl_engine.models.yuan import YuanForCausalLM
    from transformers import AutoConfig, LlamaConfig

    model, ids = small("yuan"), token_ids(1, 9)
    model.save_pretrained(tmp_path / "model")
    values = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps({**values, "model_type": "llama"}))
    loaded = load(tmp_path / "model", tmp_path)
    assert type(loaded) is YuanForCausalLM
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert type(AutoConfig.for_model("llama", vocab_size=8)) is LlamaConfig


def test_the_recipe_stands_above_config_json(whole: Path, tmp_path: Path) -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.model import load_model

    def told(**source: Any) -> Any:
        return load_model(replace(small_config(tmp_path), model=ModelConfig(**source)), Words())

    model = told(path=str(whole), family="baichuan-7b")
    assert (model.config.has_alibi, model.config.has_norm_head) == (False, False)
    assert type(model.lm_head) is torch.nn.Linear
    model.save_pretrained(tmp_path / "saved")
    again = told(path=str(tmp_path / "saved"))
    assert (again.config.has_alibi, again.config.has_norm_head) == (False, False)
    with pytest.raises(EngineError, match=r"is a baichuan, model\.family says yuan\. leave model\.family out"):
        told(path=str(whole), family="yuan")
    made = told(init={k: v for k, v in CONFIGS["baichuan-7b"].items() if k != "model_type"}, family="baichuan2")
    assert (made.config.has_alibi, made.config.has_norm_head) == (False, True)
