"""What the families must do whatever their weights: packing, padding, caches, heads, attention, sizes, LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.models.small import CONFIGS, small, token_ids

pytestmark = pytest.mark.engine
torch = pytest.importorskip("torch", reason="needs torch")
LENGTHS = [5, 9, 1, 7]
CLOSE = 2e-6 * 10
"""Of these logits, which are ten times those of the references."""


def _positions() -> Any:
    return torch.cat([torch.arange(length) for length in LENGTHS])[None]


def _numbers() -> Any:
    return torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))[None]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CONFIGS)
def test_packed_texts_are_separate_texts(name: str, attention: str) -> None:
    model = small(name, attention=attention).train()
    row = token_ids(1, sum(LENGTHS))
    labels = row.clone()
    labels[0, [0, 5, 14, 15]] = -100
    with torch.no_grad():
        separate = torch.cat([model(text[None]).logits[0] for text in row[0].split(LENGTHS)])
        told = [
            {"position_ids": _positions()},
            {"position_ids": _positions(), "use_cache": False, "seq_idx": _numbers()},
            {"attention_mask": _numbers() + 1},
            {"position_ids": _positions(), "attention_mask": torch.ones_like(row)},
        ]
        for more in told:
            assert (model(row, **more).logits[0] - separate).abs().max() < CLOSE, list(more)
        packed = model(row, labels=labels, position_ids=_positions()).loss
        loss = torch.nn.functional.cross_entropy(separate[:-1], labels[0, 1:])
        assert abs(packed - loss) < 2e-6
        assert (model(row).logits[0] - separate).abs().max() > 0.01, "texts must matter to each other here"


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_do_not_cross_packed_texts(name: str) -> None:
    model = small(name)
    embedded = model.get_input_embeddings()(token_ids(1, sum(LENGTHS))).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, position_ids=_positions()).logits
    logits[0, 5:14].square().sum().backward()
    reached = embedded.grad[0].abs().sum(-1) > 0
    assert reached.tolist() == [5 <= place < 14 for place in range(sum(LENGTHS))]


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_changes_nothing(name: str) -> None:
    """Loss and gradients of a padded batch are those of its texts, padding before or behind."""
    model, ids = small(name), token_ids(2, 12)
    pad = model.config.pad_token_id
    texts = [ids[0], ids[1, :7]]
    wanted = None
    for side in (None, "right", "left"):
        model.zero_grad()
        if side is None:
            loss = sum(
                torch.nn.functional.cross_entropy(model(t[None]).logits[0, :-1], t[1:], reduction="sum") for t in texts
            )
        else:
            front, behind = (0, 5) if side == "right" else (5, 0)
            row = torch.nn.functional.pad(texts[1], (front, behind), value=pad)
            mask = torch.nn.functional.pad(torch.ones(7, dtype=torch.long), (front, behind))
            batch, masks = torch.stack([texts[0], row]), torch.stack([torch.ones_like(mask), mask])
            positions = (masks.cumsum(-1) - 1).clamp(min=0)
            logits = model(batch, attention_mask=masks, position_ids=positions).logits
            labels = batch.masked_fill(masks == 0, -100)
            labels[1, front] = -100
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
            )
        loss.backward()
        told = [loss.detach(), *(p.grad.clone() for p in model.parameters())]
        wanted = wanted or told
        for mine, other in zip(told, wanted, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_generation_with_and_without_cache(name: str) -> None:
    model, ids = small(name).eval(), token_ids(2, 9)
    pad = model.config.pad_token_id
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": pad}
    cached = model.generate(ids, **settings)
    assert torch.equal(cached, model.generate(ids, use_cache=False, **settings))
    beams = {"num_beams": 3, "num_return_sequences": 2, **settings}
    assert torch.equal(model.generate(ids, **beams), model.generate(ids, use_cache=False, **beams))
    left, mask = ids.clone(), torch.ones_like(ids)
    left[1], mask[1, :4] = torch.cat((torch.full((4,), pad), ids[1, :5])), 0
    alone = model.generate(ids[1:, :5], **settings)
    together = model.generate(left, attention_mask=mask, **settings)
    assert torch.equal(together[1, 9:], alone[0, 5:])
    assert torch.equal(together[0], cached[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cache_of_fixed_size_gives_the_same_logits(name: str) -> None:
    """It hands back room for later tokens too, which no token may see."""
    from transformers import StaticCache

    model, ids = small(name).eval(), token_ids(2, 9)
    cache = StaticCache(config=model.config, max_cache_len=16)
    with torch.no_grad():
        whole = model(ids).logits
        parts = [model(part, past_key_values=cache).logits for part in ids.split([5, 1, 3], dim=1)]
    assert (torch.cat(parts, dim=1) - whole).abs().max() < CLOSE


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_asked_of_forward(name: str) -> None:
    model, ids = small(name).eval(), token_ids(2, 6)
    whole = model(ids).logits
    assert torch.equal(model(ids, logits_to_keep=torch.tensor([1, 4])).logits, whole[:, [1, 4]])
    assert torch.equal(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    assert model(ids[:0]).logits.shape == (0, 6, 64)
    for given in ({}, {"input_ids": ids, "inputs_embeds": model.get_input_embeddings()(ids)}):
        with pytest.raises(ValueError, match="give input_ids or inputs_embeds, and not both"):
            model(**given)


def test_yuan_remembers_where_a_text_ended() -> None:
    """A cache parts texts at <eod> as one pass over all of them does."""
    model, ids = small("yuan-parted").eval(), token_ids(2, 12)
    ids[0, 4], ids[1, 7] = 60, 60
    with torch.no_grad():
        whole = model(ids).logits
        outputs = model(ids[:, :6], use_cache=True)
        for place in range(6, 12):
            outputs = model(ids[:, place : place + 1], past_key_values=outputs.past_key_values)
            assert (outputs.logits[:, 0] - whole[:, place]).abs().max() < CLOSE
        model.set_attn_implementation("eager")
        weights = model(ids, output_attentions=True).attentions[0]
    assert weights[0, :, 5:, :5].max() == 0
    assert weights[1, :, 8:, :8].max() == 0
    assert weights[0, :, 4, 0].min() > 0


@pytest.mark.parametrize("name", ["baichuan2-7b", "baichuan2-13b"])
def test_the_head_trains_on_after_an_evaluation(name: str) -> None:
    model, ids = small(name), token_ids(2, 12)
    head = model.lm_head.weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = head.detach().clone()
    with torch.no_grad():
        model.eval()(ids)
    assert torch.equal(head, before), "an evaluation must not write"
    model.train()(ids, labels=ids).loss.backward()
    optimizer.step()
    assert model.lm_head.weight is head
    assert (head - before).abs().max() > 0
    rows = torch.nn.functional.normalize(before, dim=1)
    hidden = torch.randn(3, 32)
    head.data = before
    assert (model.lm_head(hidden) - hidden @ rows.T).abs().max() < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_another_vocabulary_size(name: str, tmp_path: Path) -> None:
    model, ids = small(name), token_ids(1, 8)
    kind, before = type(model.lm_head), model(ids).logits.detach()
    model.resize_token_embeddings(80, mean_resizing=False)
    logits = model(ids).logits
    assert (type(model.lm_head), logits.shape[-1]) == (kind, 80)
    assert (logits[..., :64] - before).abs().max() < CLOSE
    model.lm_head.weight.grad = None
    logits.sum().backward()
    assert model.lm_head.weight.grad.shape == (80, 32)
    model.save_pretrained(tmp_path)
    from transformers import AutoModelForCausalLM

    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again.lm_head) is kind
    assert torch.equal(again(ids).logits, logits)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    model, ids = small(name).train(), token_ids(2, 10)
    gradients = []
    for on in (False, True):
        if on:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        model(ids, labels=ids, position_ids=torch.arange(10).remainder(4)[None].expand(2, -1)).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", ["baichuan-7b", "yuan"])
def test_an_attention_of_another_kind_is_told_positions(name: str) -> None:
    """Flash kernels learn from positions where texts start; a mask they get for padding alone."""
    from transformers import AttentionInterface

    told: list[Any] = []

    def recorded(module: Any, query: Any, key: Any, value: Any, mask: Any, **more: Any) -> Any:
        told.append((mask, more["position_ids"]))
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return mixed.transpose(1, 2), None

    AttentionInterface.register("recorded", recorded)
    model, ids = small(name, attention="recorded"), token_ids(1, sum(LENGTHS))
    model(ids, position_ids=_positions(), attention_mask=torch.ones_like(ids))
    assert told[0][0] is None
    assert torch.equal(told[0][1], _positions())
    plain = model(ids).logits
    model.set_attn_implementation("sdpa")
    assert (model(ids).logits - plain).abs().max() < CLOSE


@pytest.mark.parametrize("name", ["baichuan-7b", "yuan"])
def test_flash_parts_texts_in_one_row_without_padding(name: str) -> None:
    """transformers tells flash kernels there only of positions that start again; texts would see each other."""
    from llmctl_engine.errors import EngineError
    from transformers import AttentionInterface

    AttentionInterface.register("blank", lambda _module, query, *_, **__: (query.transpose(1, 2), None))
    model, ids = small(name, attention="blank"), token_ids(2, 8)
    starting = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]])
    padded = torch.tensor([[1] * 6 + [0] * 2])
    for rows, more in ((2, {}), (1, {"attention_mask": padded})):
        with pytest.raises(EngineError, match="in a batch of one row without padding only"):
            model(ids[:rows], position_ids=starting.expand(rows, -1), **more)
    model(ids[:1], position_ids=starting)
    front = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1], [1] * 8])
    model(ids, attention_mask=front, position_ids=(front.cumsum(-1) - 1).clamp(min=0))


def test_flash_cannot_carry_alibi_nor_parted_texts() -> None:
    from llmctl_engine.errors import EngineError
    from transformers import AttentionInterface

    with pytest.raises(EngineError, match="flash_attention_2 has no place for the bias of ALiBi"):
        small("baichuan-13b", attention="flash_attention_2")
    AttentionInterface.register("recorded", lambda *_, **__: None)
    ids = token_ids(1, 8)
    ids[0, 3] = 60
    with pytest.raises(EngineError, match="would let a text see those before its <eod>"):
        small("yuan-parted", attention="recorded")(ids)


def test_slopes_and_relative_bias() -> None:
    from llmctl_engine.models.masks import alibi_mask, alibi_slopes

    slopes = alibi_slopes(40)
    assert slopes[:32].tolist() == pytest.approx([2 ** (-0.25 * (head + 1)) for head in range(32)])
    assert slopes[32:].tolist() == pytest.approx([2 ** (-0.125 * (2 * head + 1)) for head in range(8)])
    bias = alibi_mask(None, slopes, 2, 1998, torch.float32).bias
    assert bias.dtype == torch.float32
    assert bias[0, 0, 1, 1999] == 0
    assert bias[0, 0, 0, 1990] == pytest.approx(-8 * float(slopes[0]), rel=1e-6)
    assert bias[0, 0, 0, 1999] < -1e30


def test_long_distances_in_bf16() -> None:
    """Near keys stay apart at position 2000 as at position 0: the bias does not lose itself in bf16."""
    model = small("baichuan-13b", attention="eager").to(torch.bfloat16).eval()
    near = token_ids(1, 16)
    mask = torch.ones(1, 2016, dtype=torch.long)
    mask[:, :2000] = 0
    far = torch.cat((torch.zeros(1, 2000, dtype=torch.long), near), dim=1)
    with torch.no_grad():
        shifted = model(far, attention_mask=mask, logits_to_keep=16).logits
        assert torch.equal(shifted, model(near).logits)


@pytest.mark.parametrize(
    ("values", "parameters"),
    [
        ({"max_position_embeddings": 4096}, 7_000_559_616),
        ({"model_max_length": 4096, "hidden_size": 5120}, 13_264_901_120),
        ({"max_position_embeddings": 4096, "vocab_size": 125696}, 7_505_973_248),
        ({"model_max_length": 4096, "hidden_size": 5120, "vocab_size": 125696}, 13_896_668_160),
        ({"num_hidden_layers": 24}, 2_088_724_480),
        ({"num_hidden_layers": 42}, 51_842_105_344),
        ({"num_hidden_layers": 84}, 102_577_954_816),
    ],
)
def test_published_sizes(values: dict[str, int], parameters: int) -> None:
    from llmctl_engine.models.baichuan import BaichuanConfig, BaichuanForCausalLM
    from llmctl_engine.models.yuan import YuanConfig, YuanForCausalLM

    large = {"hidden_size": 8192, "intermediate_size": 32768, "num_attention_heads": 64}
    thirteen = {"intermediate_size": 13696, "num_hidden_layers": 40, "num_attention_heads": 40}
    with torch.device("meta"):
        if "num_hidden_layers" in values:
            model = YuanForCausalLM(YuanConfig(**values | (large if values["num_hidden_layers"] > 24 else {})))
        else:
            config = BaichuanConfig(**values | (thirteen if "hidden_size" in values else {}))
            assert config.has_alibi == ("hidden_size" in values)
            assert config.has_norm_head == ("vocab_size" in values)
            model = BaichuanForCausalLM(config)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


def test_lora_by_family() -> None:
    from llmctl_engine.errors import EngineError
    from llmctl_engine.models.baichuan import BaichuanConfig
    from llmctl_engine.models.lora import LINEARS, lora_targets
    from llmctl_engine.models.yuan import YuanConfig
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig

    for name in ("baichuan2-13b", "yuan"):
        model = small(name)
        family = model.config.model_type
        adapted = get_peft_model(model, LoraConfig(target_modules=lora_targets(model.config, ["all"]), r=2))
        touched = {n.split(".lora_A")[0].rpartition(".")[2] for n, _ in adapted.named_parameters() if "lora_A" in n}
        assert touched == set(LINEARS[family])
    llama, baichuan = LlamaConfig(), BaichuanConfig(**CONFIGS["baichuan-7b"])
    second, yuan = BaichuanConfig(**CONFIGS["baichuan2-7b"]), YuanConfig()
    assert lora_targets(llama, ["all"]) == "all-linear"
    assert lora_targets(llama, ["q_proj"]) == ["q_proj"]
    assert lora_targets(yuan, ["v_proj", "k_proj", "q_proj"]) == ["v_proj", "k_proj", "q_proj"]
    assert lora_targets(baichuan, ["lm_head"]) == ["lm_head"]
    for config, targets, message in (
        (baichuan, ["q_proj", "v_proj"], r"holds q, k and v in one module\. name W_pack"),
        (yuan, ["q_proj", "v_proj"], r"its k_proj those of the other\. name both or neither"),
        (yuan, ["self_attn.k_proj"], r"its k_proj those of the other\. name both or neither"),
        (second, ["W_pack", "lm_head"], r"is normalised, and what LoRA adds to it could not be merged"),
        (yuan, ["lm_head"], r"the head is the embedding"),
    ):
        with pytest.raises(EngineError, match=message):
            lora_targets(config, targets)


def test_yuans_q_and_k_of_a_head_lie_side_by_side() -> None:
    """A change of q_proj alone reaches q and k of the first half of the heads and nothing else."""
    model = small("yuan", attention="eager")
    ids = token_ids(1, 6)
    before = model(ids, output_attentions=True).attentions[0]
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.mul_(1.5)
    after = model(ids, output_attentions=True).attentions[0]
    changed = (after - before).abs().amax((0, 2, 3)) > 1e-4
    assert changed.tolist() == [True, True, False, False]


def test_the_z_loss_joins_where_the_config_has_a_weight() -> None:
    ids = token_ids(2, 10)
    plain, weighted = small("baichuan2-7b"), small("baichuan2-7b", z_loss_weight=0.01)
    labels = ids.masked_fill(torch.arange(10) < 5, -100)
    outputs = weighted(ids, labels=labels)
    term = 0.01 * outputs.logits[:, :-1].amax(-1).square().mean()
    assert float(outputs.loss - plain(ids, labels=labels).loss) == pytest.approx(float(term), rel=1e-4)
    assert float(term) > 0.01
    from llmctl_engine.loss import LabelledLoss

    loss = LabelledLoss(weighted)
    loss.expect({"labels": labels})
    assert float(loss(weighted(ids), labels, 10)) == pytest.approx(float(outputs.loss), rel=1e-6)
