"""Settings of other trainers in the words of a recipe."""

from __future__ import annotations

from llmctl.run.differences import Difference, Told, differences
from llmctl.run.foreign import as_recipe, shape

LLAMAFACTORY = {
    "stage": "sft",
    "finetuning_type": "lora",
    "lora_rank": 16,
    "lora_target": "q_proj,v_proj",
    "template": "default",
    "dataset": "alpaca_zh, alpaca_en",
    "cutoff_len": 512,
    "per_device_train_batch_size": 4,
    "learning_rate": "1.0e-3",
    "num_train_epochs": 1,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.03,
    "bf16": True,
    "output_dir": "out",
}


def test_what_they_tell_and_nothing_else() -> None:
    assert as_recipe(LLAMAFACTORY) == {
        "model": {"template": "default"},
        "data": {"datasets": ["alpaca_zh", "alpaca_en"], "cutoff_len": 512},
        "train": {
            "stage": "sft",
            "method": "lora",
            "epochs": 1,
            "micro_batch": 4,
            "learning_rate": 0.001,
            "scheduler": "cosine",
            "warmup_steps": 0.03,
            "precision": "bf16",
            "lora": {"r": 16, "targets": ["q_proj", "v_proj"]},
        },
    }
    assert as_recipe({}) == {}
    packed = [{"packing": True, "neat_packing": True}, {"sft_packing": True}, {"packing": True}, {"packing": False}]
    assert [as_recipe(given).get("data", {}).get("packing") for given in packed] == ["exact", "naive", None, "none"]
    assert as_recipe({"fp16": False, "bf16": False})["train"] == {"precision": "fp32"}
    assert shape({"hidden_size": 64, "vocab_size": None, "architectures": ["X"]}) == {"model.hidden_size": 64}


def test_only_what_both_tell_is_a_difference() -> None:
    recipe = {
        "name": "a",
        "model": {"template": "default@0.9.5", "path": "w"},
        "data": {"datasets": ["alpaca_zh", "alpaca_en"], "cutoff_len": 1024},
        "train": {"learning_rate": 1e-3, "micro_batch": 2, "seed": 1, "lora": {"r": 16}},
    }
    ours = Told(recipe=recipe, run={"total_steps": 10}, digests={"data": "x"}, facts={"model.hidden_size": 64})
    theirs = Told(recipe=as_recipe(LLAMAFACTORY), facts={"model.hidden_size": 128, "model.vocab_size": 9}, whole=False)
    assert differences(ours, theirs) == [
        Difference(name="model.hidden_size", left="64", right="128"),
        Difference(name="recipe.data.cutoff_len", left="1024", right="512"),
        Difference(name="recipe.train.micro_batch", left="2", right="4"),
    ]
    turned = {"train": {"lora": {"targets": ["b", "a"]}}}
    assert differences(Told(recipe={"train": {"lora": {"targets": ["a", "b"]}}}), Told(recipe=turned)) == []
    other = Told(recipe={"model": {"template": "alpaca"}}, whole=False)
    assert differences(ours, other) == [Difference(name="recipe.model.template", left="default@0.9.5", right="alpaca")]
