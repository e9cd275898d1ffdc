"""The estimates of disk and memory: sizes of known models, what a run really writes, and what must always hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.checks.estimate import (
    GIB,
    Training,
    adapter_parameters,
    checkpoints,
    in_gb,
    needs,
    parameters,
    read_config,
    sizes,
)
from llmctl.checks.facts import Fact, Severity
from llmctl.checks.parsers.host import memory
from llmctl.checks.question import Question, findings
from llmctl.recipe.hosts import Node
from tests.conftest import llmctl
from tests.engine.runs import launch

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
    "tie_word_embeddings": False,
}
YUAN = {"model_type": "yuan", "vocab_size": 135040, "num_attention_heads": 32}


def llama(**values: Any) -> dict[str, Any]:
    return sizes(SMALL | values)


def training(**values: Any) -> Training:
    given = {"method": "full", "rank": 8, "precision": "bf16", "device": "npu", "zero": 2, "offload": False}
    return Training(**given | {"checkpoints": 2} | values)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"vocab_size": 64000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}, 7.000559e9),
        (
            {"vocab_size": 125696, "hidden_size": 5120, "intermediate_size": 13696, "num_hidden_layers": 40},
            13_896_668_160,
        ),
        (YUAN | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24}, 2_088_724_480),
        (YUAN | {"hidden_size": 8192, "intermediate_size": 32768, "num_hidden_layers": 84}, 102_577_954_816),
        (
            {"model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None},
            124_439_808,
        ),
        (
            {"model_type": "qwen2_moe", "vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 24,
             "num_attention_heads": 16, "num_experts": 60, "moe_intermediate_size": 1408, "intermediate_size": 5632},
            13_510_000_000,
        ),
    ],
)  # fmt: skip
def test_known_models_have_their_size(config: dict[str, Any], count: int) -> None:
    assert parameters(sizes(config)) == pytest.approx(count, rel=0.01)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", "x", '{"hidden_size": "wide"}', '{"hidden_size": -1, "num_hidden_layers": 1, "vocab_size": 1}',
     json.dumps(SMALL | {"num_hidden_layers": True}), '{"hidden_size": 64, "num_hidden_layers": 2}'],
)  # fmt: skip
def test_a_config_without_sizes_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_config(text)


def test_a_model_inside_another_counts() -> None:
    assert read_config(json.dumps({"model_type": "both", "text_config": SMALL})) == llama()


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"save_steps": 0, "limit": 3, "steps": 100}, 0),
        ({"save_steps": 10, "limit": 3, "steps": 100}, 4),
        ({"save_steps": 40, "limit": 3, "steps": 100}, 3),
        ({"save_steps": 10, "limit": None, "steps": 101}, 11),
        ({"save_steps": 10, "limit": 3, "steps": None}, 4),
        ({"save_steps": 10, "limit": None, "steps": None}, 1),
        ({"save_steps": 10, "limit": 3, "steps": 100, "resumed": True}, 1),
    ],
)
def test_how_many_checkpoints_lie_there_at_once(values: dict[str, Any], count: int) -> None:
    assert checkpoints(**{"resumed": False} | values) == count


def test_zero_in_half_precision_is_sixteen_bytes_a_parameter() -> None:
    whole = parameters(llama())
    alone = needs(training(), llama(), {"a": 8}, {})["a"]
    assert (alone.checkpoint, alone.weights) == (16 * whole, 2 * whole)
    first, second = needs(training(), llama(), {"a": 8, "b": 8}, {}).values()
    assert (first.checkpoint, second.checkpoint) == (10 * whole, 8 * whole)
    assert second.weights == 0
    shared = needs(training(), llama(), {"a": 8, "b": 8}, {"a": "1", "b": "1"})
    assert {need.checkpoint for need in shared.values()} == {16 * whole}


def test_memory_is_for_loading_and_for_a_host_that_trains() -> None:
    whole = parameters(llama())
    assert needs(training(), llama(), {"a": 8}, {})["a"].memory == 8 * (GIB + 4 * whole)
    assert needs(training(zero=3), llama(), {"a": 8}, {})["a"].memory == 8 * GIB + 4 * whole
    assert needs(training(offload=True), llama(), {"a": 8}, {})["a"].memory == 8 * (GIB + 4 * whole) + 16 * whole
    plain = training(device="cpu", zero=None, precision="fp32")
    assert needs(plain, llama(), {"a": 2}, {})["a"].memory == 2 * (GIB + 16 * whole)


@given(
    method=st.sampled_from(["full", "lora"]), precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    zero=st.sampled_from([None, 0, 1, 2, 3]), offload=st.booleans(), device=st.sampled_from(["cpu", "npu"]),
    slots=st.lists(st.integers(1, 16), min_size=1, max_size=9), hidden=st.integers(64, 2**14),
    layers=st.integers(1, 200), count=st.integers(0, 20),
)  # fmt: skip
def test_what_always_holds(
    method: str, precision: str, zero: int | None, offload: bool, device: str, slots: list[int], hidden: int,
    layers: int, count: int,
) -> None:  # fmt: skip
    model = llama(hidden_size=hidden, num_hidden_layers=layers)
    asked = training(method=method, precision=precision, zero=zero, offload=offload, device=device, checkpoints=count)
    names = [f"n{place}" for place in range(len(slots))]
    by_node = dict(zip(names, slots, strict=True))
    found = needs(asked, model, by_node, {})
    assert list(found) == names
    whole, trained = parameters(model), adapter_parameters(model, 8) if method == "lora" else parameters(model)
    for name, need in found.items():
        assert 0 <= need.disk <= (count + 1) * 20 * trained + 1
        assert need.memory + 1 >= by_node[name] * GIB + (
            2 * whole * by_node[name] / sum(slots) if zero == 3 else 2 * whole
        )
    more = needs(training(**vars(asked) | {"checkpoints": count + 1}), model, by_node, {})
    assert all(more[name].disk >= found[name].disk for name in names)
    deeper = needs(asked, llama(hidden_size=hidden, num_hidden_layers=layers + 1), by_node, {})
    assert all(deeper[n].disk >= found[n].disk and deeper[n].memory > found[n].memory for n in names)
    together = needs(asked, model, by_node, dict.fromkeys(names, "one"))
    assert sum(need.checkpoint for need in found.values()) + len(names) >= next(iter(together.values())).checkpoint


def test_gigabytes_for_people() -> None:
    assert [in_gb(n) for n in (5e6, 1e8, 123.44e9)] == ["5 MB", "0.1 GB", "123.4 GB"]


def judged(question: Question, *facts: Fact) -> dict[str, tuple[Severity, str]]:
    found = findings(question, [Node(name="a"), Node(name="b")], facts)
    return {finding.code: (finding.severity, finding.title) for finding in found}


def fact(name: str, node: str, value: Any) -> Fact:
    return Fact(name=name, node=node, value=value)


def test_the_finding_tells_what_is_needed_and_what_is_there() -> None:
    big = {"vocab_size": 64000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
    question = Question(
        workdir="/w", device="npu", slots={"a": 8, "b": 8}, count=2, training=vars(training(checkpoints=3)),
        places={"model": ["/m"]},
    )  # fmt: skip
    there = [fact("accelerator.kinds", name, ["npu"]) for name in "ab"]
    there += [fact("model.config", name, sizes(big)) for name in "ab"]
    there += [fact("disk.workdir", name, {"size": 10**12, "free": 200 * 10**9}) for name in "ab"]
    there += [fact("host.memory", n, {"total": 2**39, "available": 220 * 10**9, "swap": 0}) for n in "ab"]
    told = judged(question, *there)
    assert told["disk.workdir.wrong"] == (
        Severity.ERROR,
        "a: 200.0 GB free, 224.0 GB needed: 3 checkpoints of 70.0 GB, final weights 14.0 GB",
    )
    assert told["host.memory.wrong"] == (
        Severity.WARNING,
        "a,b: 220.0 GB of memory free, 232.6 GB needed for 8 processes",
    )
    lora = Question(**vars(question) | {"training": vars(training(method="lora", checkpoints=3))})
    assert set(judged(lora, *there)) == set()


def test_without_the_size_of_the_model_there_is_no_estimate_and_that_is_said() -> None:
    question = Question(slots={"a": 1}, training=vars(training()), model={"model_type": "llama"})
    told = judged(question, fact("disk.workdir", "a", {"size": 10**9, "free": 10**9}))
    assert [severity for severity, _ in told.values()] == [Severity.INFO]
    assert "tells no hidden_size, num_hidden_layers, vocab_size" in told["model.config.unknown"][1]


MEMINFO = "MemTotal: 1000 kB\nMemAvailable: 800 kB\nSwapFree: 16 kB\n"


@pytest.mark.parametrize(
    ("group", "found"),
    [
        ("", {}),
        ("limit 2000000\nused 5\n", {}),
        ("limit 600000\n", {"limit": 600_000, "used": 0}),
        ("limit 600000\nused 400000\ninactive_file 150000\n", {"limit": 600_000, "used": 250_000}),
        ("limit 600000\nused 400000\ntotal_inactive_file 500000\n", {"limit": 600_000, "used": 0}),
    ],
)
def test_the_page_cache_of_a_control_group_is_not_used(group: str, found: dict[str, int]) -> None:
    whole = {"total": 1_024_000, "available": 819_200, "swap": 16_384}
    assert memory(MEMINFO + group) == whole | found


def test_memory_is_what_the_control_group_leaves() -> None:
    question = Question(device="cpu", slots={"a": 2})
    value = {"total": 2**40, "available": 2**39, "swap": 4 * 10**9, "limit": 8 * 10**9, "used": 7 * 10**9}
    title = judged(question, fact("accelerator.kinds", "a", []), fact("host.memory", "a", value))["host.memory.wrong"]
    assert title[1] == "a: 1.0 GB of memory free and 4.0 GB of swap, 2.1 GB needed for 2 processes"


RECIPE = """\
name: sized
cluster: {{device: cpu}}
launch: {{backend: local, launcher: {launcher}}}
model: {{init: {model}}}
data: {{datasets: [rows], cutoff_len: 32, packing: none}}
train: {{max_steps: 1, save_steps: 1, method: {method}, precision: {precision}}}
{deepspeed}
"""


@pytest.mark.engine
@pytest.mark.parametrize(
    ("method", "precision", "zero"),
    [("full", "fp32", None), ("full", "bf16", 2), ("full", "bf16", 3), ("lora", "bf16", 2)],
)  # fmt: skip
def test_a_checkpoint_is_as_large_as_estimated(tmp_path: Path, method: str, precision: str, zero: int | None) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.json").write_text('[{"instruction": "Say yes.", "output": "Yes."}]')
    deepspeed = "" if zero is None else f"deepspeed: {{stage: {zero}}}"
    launcher = "torchrun" if zero is None else "deepspeed"
    (tmp_path / "r.yaml").write_text(
        RECIPE.format(
            model=json.dumps(SMALL), method=method, precision=precision, deepspeed=deepspeed, launcher=launcher
        )
    )
    llmctl("render", "r.yaml", "-o", "rendered", cwd=tmp_path, code=0)
    output = Path(json.loads((tmp_path / "rendered" / "engine.json").read_text())["output_dir"])
    shutil.copytree(tmp_path / "rendered", output.parent)
    (rank,) = launch(output.parent, 1)
    code, text = rank.end(within=300)
    assert code == 0, text
    folder = output / "checkpoint-1"
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    asked = training(method=method, precision=precision, zero=zero, device="cpu", checkpoints=1)
    estimate = needs(asked, llama(), {"local": 1}, {})["local"].checkpoint
    # Tokenizer, names and padding come on top, which counts only for so small a model.
    assert estimate * 0.98 <= written <= estimate * 1.05 + 400_000
