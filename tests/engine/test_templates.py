"""The template table against LLaMA-Factory's own ids and against segments written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctl_engine.errors import EngineError
from llmctl_engine.templates import BOS, EOS, TEMPLATES, Token, full_name, segments
from llmctl_engine.templates.tools import FORMATS
from llmctl_engine.turns import Sample, Turn

from tests.engine.golden import dialogues
from tests.engine.golden.by_hand import BY_HAND, EFFICIENT

SHARED = Path(__file__).parents[2].parent / "shared"
MODEL = SHARED / "reference/llamafactory/model"
GOLDEN = json.loads((Path(__file__).parent / "golden/llama_factory.json").read_text(encoding="utf-8"))
needs_shared = pytest.mark.skipif(not MODEL.is_dir(), reason="LLaMA-Factory's tokenizer is not beside this checkout")


def turns(dialogue: list[tuple[str, str]]) -> tuple[Turn, ...]:
    pairs = zip(dialogue[::2], dialogue[1::2], strict=True)
    return tuple(Turn(q, a, observed=asks == "observation", calls=says == "function") for (asks, q), (says, a) in pairs)


PLAIN = turns(dialogues.WITH_SYSTEM)
CALLING = turns(dialogues.WITH_TOOLS)


def sample(told: tuple[Turn, ...] = PLAIN, system: str = dialogues.S, tools: str = "") -> Sample:
    return Sample(dataset="d", row=1, turns=told, system=system, tools=tools)


def by_hand(name: str) -> list[list[str | Token]]:
    return [[Token(part[0]) if isinstance(part, tuple) else part for part in parts] for parts in BY_HAND[name]]


def test_the_table_is_covered() -> None:
    assert {*BY_HAND, *GOLDEN["templates"]} == set(TEMPLATES)
    assert {template.tools for template in TEMPLATES.values()} == {*FORMATS, None}


@pytest.mark.parametrize("name", BY_HAND)
def test_segments_of_old_releases(name: str) -> None:
    template = TEMPLATES[name]
    eos = Token(template.stop[0]) if template.replace_eos else EOS
    made = [list(parts) for pair in segments(template, PLAIN, dialogues.S) for parts in pair]
    assert [[eos if part == EOS else part for part in parts if part != ""] for parts in made] == by_hand(name)
    assert template.efficient_eos == (name in EFFICIENT)


def test_default_systems() -> None:
    def opening(name: str) -> Any:
        return segments(TEMPLATES[name], [Turn("Q", "A")])[0][0]

    assert opening("default@0.2.0")[1].startswith("A chat between a curious user and an artificial")
    assert opening("default@0.5.0") == ("Human: Q\nAssistant: ",)
    assert opening("chatglm2@0.2.0")[:5] == (BOS, Token("[gMASK]"), Token("sop"), "", "\n\n")
    assert opening("mistral@0.5.0")[:2] == (BOS, "")
    assert "while being safe.  Your answers" in opening("llama2@0.2.0")[1]
    assert "while being safe. Your answers" in opening("llama2@0.5.0")[1]
    assert opening("llama2@0.9.5") == (BOS, "[INST] Q [/INST]")
    assert "你是一个乐于助人的助手" in opening("llama2_zh@0.9.5")[1]
    assert opening("alpaca@0.5.0")[0].endswith("completes the request.")
    assert opening("alpaca@0.9.0")[0].endswith("completes the request.\n\n")
    assert opening("aquila@0.2.0")[1].startswith("A chat between a curious human")
    assert opening("chatglm3@0.5.0")[4].startswith("You are ChatGLM3")


@given(name=st.sampled_from([*TEMPLATES]), query=st.text(), answer=st.text())
def test_every_template_holds_the_texts_whole(name: str, query: str, answer: str) -> None:
    prompt, told = segments(TEMPLATES[name], [Turn(query, answer)], "system {} {n}")[0]
    assert query in "".join(part for part in prompt if isinstance(part, str))
    assert answer in "".join(part for part in told if isinstance(part, str))


def test_a_name_without_version_is_the_newest() -> None:
    assert full_name("yuan") == "yuan@0.9.5"
    assert full_name("baichuan2") == "baichuan2@0.5.0"
    assert full_name("own") == "own"
    assert full_name("nothing") is None
    assert full_name("default@9") is None


def test_special_tokens_that_a_tokenizer_must_have() -> None:
    assert TEMPLATES["default@0.9.5"].special_tokens() == ()
    assert TEMPLATES["qwen@0.9.5"].special_tokens() == ("<|im_end|>", "<|im_start|>")
    assert TEMPLATES["yuan@0.5.0"].special_tokens() == ("<eod>", "<sep>")
    assert "<|eom_id|>" not in TEMPLATES["llama3@0.9.5"].special_tokens()  # only ends answers: Llama 3.0 has none


def test_tools_are_refused_where_the_release_knew_none() -> None:
    with pytest.raises(ValueError, match="knows no tools"):
        segments(TEMPLATES["default@0.2.0"], CALLING)
    for broken, words in (
        ("{", "Expecting"),
        ('{"name": 1}', "list"),
        ('[{"name": "f", "parameters": []}, 1]', "list"),
    ):
        with pytest.raises(ValueError, match=words):
            segments(TEMPLATES["default@0.9.5"], PLAIN, tools=broken)


def able(made: Any) -> Any:
    """The tokenizer with the special tokens of all templates."""
    made.add_special_tokens({"additional_special_tokens": list(dialogues.SPECIAL)})
    made.add_bos_token = True
    return made


@pytest.fixture(scope="module")
def published() -> Any:
    from transformers import AutoTokenizer

    return able(AutoTokenizer.from_pretrained(MODEL))


@pytest.fixture
def plain() -> Any:
    """A tokenizer without the templates' special tokens."""
    from llmctl_engine.tokenizer import train_tokenizer

    return train_tokenizer([sample(CALLING)], vocab_size=400)


@pytest.fixture
def tokenizer(plain: Any) -> Any:
    return able(plain)


@pytest.mark.engine
@needs_shared
@pytest.mark.parametrize("case", ["system", "default system", "tools"])
@pytest.mark.parametrize("name", GOLDEN["templates"])
def test_ids_are_those_of_llama_factory(name: str, case: str, published: Any) -> None:
    from llmctl_engine.encoder import Encoder

    told = {
        "system": sample(),
        "default system": sample(system=""),
        "tools": sample(CALLING, tools=json.dumps(dialogues.TOOLS)),
    }[case]
    assert [list(pair) for pair in Encoder(published, name).pairs([told])[0]] == GOLDEN["templates"][name][case]


@pytest.mark.engine
@pytest.mark.parametrize("name", BY_HAND)
def test_ids_of_old_releases(name: str, tokenizer: Any) -> None:
    from llmctl_engine.encoder import Encoder

    own = {"bos": tokenizer.bos_token, "eos": tokenizer.eos_token}
    expected = [
        [
            i
            for part in parts
            for i in (
                [tokenizer.convert_tokens_to_ids(own.get(part.name, part.name))]
                if isinstance(part, Token)
                else tokenizer.encode(part, add_special_tokens=False)
            )
        ]
        for parts in by_hand(name)
    ]
    encoder = Encoder(tokenizer, name)
    assert [ids for pair in encoder.pairs([sample()])[0] for ids in pair] == expected
    assert encoder.end == (tokenizer.eos_token_id if name in EFFICIENT else None)
    assert tokenizer.unk_token_id not in [i for ids in expected for i in ids]


@pytest.mark.engine
def test_bos_of_0_2_0_is_left_out_where_the_tokenizer_says_so(plain: Any) -> None:
    from llmctl_engine.encoder import Encoder

    def first(name: str) -> int:
        return Encoder(plain, name).pairs([sample()])[0][0][0][0]

    plain.add_bos_token = True
    assert first("default@0.2.0") == plain.bos_token_id
    plain.add_bos_token = False
    assert first("default@0.2.0") != plain.bos_token_id
    assert first("llama2@0.5.0") == plain.bos_token_id


@pytest.mark.engine
def test_a_template_that_the_tokenizer_cannot_express_is_refused(plain: Any) -> None:
    from llmctl_engine.encoder import Encoder

    for name, missing in (("yuan@0.5.0", "<eod>, <sep>"), ("qwen@0.9.5", "<|im_end|>"), ("chatglm2@0.2.0", "sop")):
        with pytest.raises(EngineError, match="the tokenizer has no .*" + missing.replace("|", r"\|")):
            Encoder(plain, name)
    with pytest.raises(EngineError, match="no chat template"):
        Encoder(plain, "own")


@pytest.mark.engine
def test_the_models_own_template(tokenizer: Any) -> None:
    from llmctl_engine.encoder import Encoder

    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content }}{% endif %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    own = Encoder(tokenizer, "own").pairs([sample()])[0]
    assert own == Encoder(tokenizer, "chatml@0.9.5").pairs([sample()])[0]
    called = Encoder(tokenizer, "own").pairs([sample(CALLING)])[0]
    assert '"name": "weather"' in tokenizer.decode(called[0][1])
    assert tokenizer.decode(called[1][0]).startswith("<|im_start|>tool\n{")
    # an empty thought before the last answer only
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ m.content }}", "{{ '<think></think>' if loop.last and m.role == 'assistant' }}{{ m.content }}"
    )
    thought = [[tokenizer.decode(ids) for ids in pair] for pair in Encoder(tokenizer, "own").pairs([sample()])[0]]
    assert thought[0][1] == f"{dialogues.A1}<|im_end|>\n"
    assert thought[1] == [
        f"<|im_start|>user\n{dialogues.Q2}<|im_end|>\n<|im_start|>assistant\n",
        f"<think></think>{dialogues.A2}<|im_end|>\n",
    ]
    tokenizer.chat_template = "{{ messages | length }}"
    with pytest.raises(EngineError, match="d row 1: the model's chat template writes earlier turns otherwise"):
        Encoder(tokenizer, "own").pairs([sample()])
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(EngineError, match="refuses it: no system role"):
        Encoder(tokenizer, "own").pairs([sample()])


ARGUMENTS = {"mask_history": ("loss_on", "last"), "train_on_prompt": ("loss_on", "all")}


@pytest.mark.engine
@needs_shared
@pytest.mark.parametrize("case", GOLDEN["rows"])
def test_ids_and_labels_of_the_first_rows(case: str, published: Any) -> None:
    import hashlib

    from llmctl_engine import labels, rows
    from llmctl_engine.encoder import Encoder
    from llmctl_engine.sources import sources

    dataset, name, given = dialogues.ROWS[case]
    kind = "dpo" if case == "pairs" else "sft"
    read = rows.read(sources(SHARED / "samples/data", (dataset,)), rows.Wanted(stage=kind, max_samples=20))
    assert not read.broken
    encoder = Encoder(published, f"{name}@0.9.5")
    modes = dict(ARGUMENTS[key] for key in given if key in ARGUMENTS)
    rule = labels.Rule(cutoff_rule="lf09", cutoff_len=given.get("cutoff_len", 512), end=encoder.end, **modes)
    digests = []
    for row, told in zip(read.samples(), encoder.pairs(read.samples()), strict=True):
        if row.rejected is None:
            (built,) = labels.build(told, rule)
            columns = [built.ids, built.labels]
        else:
            worse = replace(row, turns=(*row.turns[:-1], row.turns[-1]._replace(answer=row.rejected)))
            pair = labels.build_pair(told, encoder.pairs([worse])[0][-1][1], rule)
            columns = [column for built in pair for column in (built.ids, built.labels)]
        digests.append(hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16])
    assert digests == GOLDEN["rows"][case]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("name", "end"), [("yuan@0.5.0", "<eod>"), ("yuan@0.9.5", "</s>"), ("llama3@0.9.5", "<|eot_id|>")]
)
def test_the_eos_of_a_template_becomes_the_tokenizers(name: str, end: str, tokenizer: Any) -> None:
    from llmctl_engine.encoder import Encoder

    Encoder(tokenizer, name).adopt_eos()
    assert tokenizer.eos_token == end
