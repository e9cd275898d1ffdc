"""Templates that a tokenizer cannot write are told before anything is sent, those that it may be able to are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import UsageError
from llmctl.recipe.schema import Recipe
from llmctl.run.inputs import survey

IM = {"added_tokens": [{"content": "<|im_start|>"}, {"content": "<|im_end|>"}]}
PLAIN: dict[str, Any] = {"added_tokens": [{"content": "</s>"}]}


def recipe(template: str, *, path: str | None = "m", stage: str = "sft", backend: str = "local") -> Recipe:
    cluster: dict[str, Any] = {"device": "cpu"}
    if backend != "local":
        cluster |= {"nodes": ["node1"], "workdir": "/w"}
    model = {"path": path} if path else {"init": {"model_type": "llama"}}
    whole = {"name": "r", "cluster": cluster, "launch": {"backend": backend}, "data": {"datasets": ["d"]}}
    return Recipe.model_validate(whole | {"model": model | {"template": template}, "train": {"stage": stage}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.json").write_text('[{"instruction": "Q", "output": "A"}]')
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    return tmp_path


def refused(folder: Path, given: Recipe) -> str:
    with pytest.raises(UsageError) as raised:
        survey(given, folder)
    assert "model.template" in raised.value.what + raised.value.hint
    return raised.value.what


def test_special_tokens_that_no_file_of_the_tokenizer_holds(folder: Path) -> None:
    made = folder / "m" / "tokenizer.json"
    made.write_text(json.dumps(PLAIN))
    for given in (recipe("qwen"), recipe("qwen", path=None)):
        assert refused(folder, given).startswith(
            "the tokenizer has no <|im_end|>, <|im_start|>, which the template qwen@"
        )
    survey(recipe("default"), folder)
    survey(recipe("qwen", stage="pt"), folder)
    survey(recipe("qwen", backend="ssh"), folder)  # that of the nodes may be another


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", json.dumps(IM)),
        ("tokenizer.json", json.dumps(IM).replace("<", "\\u003c")),
        ("added_tokens.json", json.dumps({"<|im_start|>": 1, "<|im_end|>": 2})),
        ("tokenizer.model", "sentencepiece"),
        ("tokenization_own.py", "code"),
    ],
)
def test_a_tokenizer_that_may_have_them_is_left_to_the_engine(name: str, text: str, folder: Path) -> None:
    (folder / "m" / "tokenizer.json").write_text(json.dumps(PLAIN))
    (folder / "m" / name).write_text(text)
    survey(recipe("qwen"), folder)
    (folder / "m" / "tokenizer.json").unlink()
    survey(recipe("qwen"), folder)


def test_a_template_of_its_own_has_to_be_there(folder: Path) -> None:
    (folder / "m" / "tokenizer_config.json").write_text("{}")
    for given in (recipe("own"), recipe("own", path=None)):
        assert refused(folder, given).startswith("the tokenizer brings no chat template")
    for name, text in (("chat_template.jinja", "x"), ("tokenizer_config.json", '{"chat_template": "x"}')):
        (folder / "m" / name).write_text(text)
        survey(recipe("own"), folder)
        (folder / "m" / name).unlink()
