"""Packed batches of every family lose what their samples lose by themselves."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmctl_engine.config import TrainSettings

from tests.engine.models.small import CONFIGS, SIZES, small
from tests.engine.runs import small_config

pytestmark = pytest.mark.engine
torch = pytest.importorskip("torch", reason="needs torch")
FAMILIES = {name: {} for name in CONFIGS if name != "yuan-parted"} | {
    "baichuan2-13b": {"z_loss_weight": 0.05},
    "baichuan2-7b": {"z_loss_weight": 0.05},
}
NATIVE = {"llama": {"num_key_value_heads": 2}, "qwen2": {"num_key_value_heads": 2}}
FLASH = "varlen"
CASES = [
    (name, attention)
    for name in (*FAMILIES, *NATIVE)
    for attention in ("eager", "sdpa", FLASH)
    if attention != FLASH or not name.endswith("13b")
]
"""Flash kernels have no place for ALiBi; that they are refused is tested with the families."""
SETTINGS = TrainSettings(micro_batch=2)


class Samples:
    """Samples of 2 to 24 tokens, the prompt without labels."""

    def __init__(self, count: int) -> None:
        draw = random.Random(7)
        self.held = [[draw.randint(3, 59) for _ in range(draw.randint(2, 24))] for _ in range(count)]

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, number: int) -> dict[str, np.ndarray[Any, Any]]:
        ids = np.array(self.held[number], dtype=np.int32)
        return {"input_ids": ids, "labels": np.where(np.arange(len(ids)) < len(ids) // 2, -100, ids)}

    def place(self, number: int) -> str:
        return f"s row {number}"


def rows() -> Any:
    from llmctl_engine.collate import BatchRows
    from llmctl_engine.packing import pack

    samples = Samples(40)
    return BatchRows(samples, list(pack([len(ids) for ids in samples.held], 60)))


@pytest.fixture(scope="module", autouse=True)
def flash() -> None:
    """Attention that takes nothing but what flash kernels of variable length take."""
    from transformers import AttentionInterface, AttentionMaskInterface

    def varlen(_: Any, query: Any, key: Any, value: Any, mask: Any, **told: Any) -> tuple[Any, None]:
        assert mask is None
        assert query.shape[0] == 1
        lengths = [query.shape[2]]
        if "cu_seq_lens_q" in told:
            assert told["cu_seq_lens_k"].dtype == torch.int32
            lengths = told["cu_seq_lens_q"].diff().tolist()
            assert max(lengths) == told["max_length_q"] == told["max_length_k"]
        key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value))
        texts = zip(*(x.split(lengths, 2) for x in (query, key, value)), strict=True)
        mixed = [torch.nn.functional.scaled_dot_product_attention(*text, is_causal=True) for text in texts]
        return torch.cat(mixed, 2).transpose(1, 2), None

    AttentionInterface.register(FLASH, varlen)
    AttentionMaskInterface.register(FLASH, lambda *_, **__: None)


def model_of(name: str, attention: str) -> Any:
    if name not in NATIVE:
        return small(name, attention=attention, **FAMILIES[name])
    CONFIGS[name] = {"model_type": name, **SIZES, **NATIVE[name]}
    try:
        return small(name, attention=attention)
    finally:
        del CONFIGS[name]


def proven(model: Any, forward: Any = None) -> Any:
    from llmctl_engine.collate import collator_for
    from llmctl_engine.loss import LabelledLoss
    from llmctl_engine.proof import prove

    model.config.use_cache = False
    attention = model.config._attn_implementation
    collate = collator_for("exact", "flash_attention_2" if attention == FLASH else attention, 0)
    with torch.no_grad():
        return prove(
            forward or model.eval(), rows(), collate, LabelledLoss(model), settings=SETTINGS, device=torch.device("cpu")
        )


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_packed_is_separate(name: str, attention: str) -> None:
    proof = proven(model_of(name, attention))
    assert abs(proof.packed - proof.separate) < 2e-6
    assert proof.holds
    assert json.loads(json.dumps(asdict(proof)))["labels"] == 62
    assert proof.shows


@pytest.mark.parametrize("name", ["baichuan2-13b", "yuan", "llama"])
def test_gradients_of_packed_samples_are_theirs(name: str) -> None:
    from llmctl_engine.collate import Packed, Padded
    from llmctl_engine.loss import LabelledLoss

    model, made = model_of(name, "sdpa"), rows()
    model.config.use_cache = False
    loss = LabelledLoss(model)
    items = [made[3], made[4]]
    alone = [{"samples": [sample], "index": 0} for item in items for sample in item["samples"]]

    def gradients(batches: list[Any]) -> list[Any]:
        model.zero_grad()
        for batch in batches:
            loss.expect(batch)
            loss.total(
                model(**{key: batch[key] for key in batch if key not in ("index", "tokens", "labels")})
            ).backward()
        return [weight.grad.clone() for weight in model.parameters()]

    packed = gradients([Packed(0)(items)])
    for mine, theirs in zip(packed, gradients([Padded(0)([item]) for item in alone]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    together = gradients([Padded(0)(alone)])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(packed, together, strict=True))


def test_a_model_that_overlooks_the_borders_is_found() -> None:
    from llmctl_engine.errors import EngineError

    model = model_of("llama", "sdpa").eval()

    def overlooking(position_ids: Any = None, **batch: Any) -> Any:
        return model(**batch)

    with pytest.raises(EngineError, match=r"packed samples do not lose .* over 62 labels of 6 samples.*packing: none"):
        proven(model, overlooking)


def test_weights_that_are_no_numbers() -> None:
    from llmctl_engine.errors import EngineError

    model = model_of("llama", "sdpa").eval()
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    with pytest.raises(EngineError, match="the loss is nan before anything is trained"):
        proven(model)


@pytest.mark.parametrize(
    ("packed", "separate", "joined", "seen", "holds"),
    [
        (4.4086, 4.4, 5.0, 0.25, True),  # rounded by half precision
        (4.4086, 4.4, 5.0, 0.0, False),
        (4.9, 4.4, 5.0, 0.25, False),
        (4.4086, 4.4, 4.41, 0.25, False),
        (math.nan, 4.4, 5.0, 0.25, False),
        (4.9, 4.4, math.inf, 0.25, False),
    ],
)
def test_half_precision_may_round_but_not_see(
    packed: float, separate: float, joined: float, seen: float, holds: bool
) -> None:
    from llmctl_engine.proof import Proof

    proof = Proof(6, 16, packed, separate, joined, limit=4.4e-3, seen=seen)
    assert proof.holds is holds
    assert ("more does, but samples that see each other would lose" in proof.told()) is not proof.near


@pytest.mark.parametrize(
    ("second", "words"),
    [([1.0, math.nan, 1.0], "the loss is nan before"), ([math.nan, 1.0, 1.0], "do not lose what .*: nan against")],
)
def test_what_another_rank_lost_is_no_number(second: list[float], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmctl_engine import group
    from llmctl_engine.errors import EngineError

    monkeypatch.setattr(group, "gather", lambda sums, device: torch.tensor([sums, second]))
    with pytest.raises(EngineError, match=words):
        proven(model_of("llama", "sdpa"))


def test_a_model_that_cannot_be_told_of_borders() -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.proof import assert_takes_positions
    from peft import LoraConfig, get_peft_model
    from transformers import BloomConfig, BloomForCausalLM

    with torch.device("meta"):
        bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2))
        llama = model_of("llama", "sdpa")
    with pytest.raises(EngineError, match=r"BloomForCausalLM takes no position_ids.*packing: none"):
        assert_takes_positions(bloom)
    assert_takes_positions(get_peft_model(llama, LoraConfig(target_modules=["q_proj"], r=2)))


def test_what_batches_hold() -> None:
    from llmctl_engine.collate import Flat, Packed, Padded

    first, second = ({"input_ids": ids, "labels": ids} for ids in ([5, 6, 7], [8, 9]))
    items = [{"samples": [first, second], "index": 4}, {"samples": [second], "index": 2}]
    packed = Packed(0)(items)
    assert packed["input_ids"].tolist() == [[5, 6, 7, 8, 9, 0, 0, 0], [8, 9, 0, 0, 0, 0, 0, 0]]
    assert packed["labels"].tolist() == [[-100, 6, 7, -100, 9, -100, -100, -100], [-100, 9] + [-100] * 6]
    assert packed["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2], [0, 1, 0, 1, 2, 3, 4, 5]]
    assert (packed["index"].tolist(), packed["tokens"].tolist()) == ([4, 2], [7])
    flat = Flat()(items)
    assert flat["input_ids"].tolist() == [[5, 6, 7, 8, 9, 8, 9]]
    assert flat["cu_seq_lens_q"].tolist() == flat["cu_seq_lens_k"].tolist() == [0, 3, 5, 7]
    assert (flat["max_length_q"], flat["index"].tolist(), flat["tokens"].tolist()) == (3, [4, 2], [7])
    padded = Padded(0, multiple=1)([{"samples": [first], "index": 0}, {"samples": [second], "index": 1}])
    assert padded["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert padded["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100]]
    assert padded["tokens"].tolist() == [5]


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ({}, "if flash_attention_2 is what is missing, leave model.attention out"),
        ({"model_type": "baichuan", "alibi": True}, "flash_attention_2 has no place for the bias of ALiBi"),
    ],
)
def test_an_attention_that_cannot_be_had(init: dict[str, Any], words: str, tmp_path: Path) -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.model import load_model
    from llmctl_engine.tokenizer import train_tokenizer

    config = small_config(tmp_path)
    model = replace(config.model, init=(config.model.init or {}) | init, attention="flash_attention_2")
    with pytest.raises(EngineError, match=words):
        load_model(replace(config, model=model), train_tokenizer([], vocab_size=300))
