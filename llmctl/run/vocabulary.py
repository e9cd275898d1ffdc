"""What a tokenizer certainly cannot write of a chat template, by its files alone: better told here than by the ranks.
The engine, which loads the tokenizer, has the last word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from llmctl_engine.templates import OWN, TEMPLATES

from llmctl.errors import UsageError
from llmctl.recipe.schema import Recipe

_OTHER_FORMS = ("*.py", "*.model", "*.tiktoken")
"""Vocabularies that only a library reads, and code that may add to one."""
_ESCAPED = "\\u003c"
"""How some writers of JSON put `<`; such a file is not searched."""


def assert_writable(recipe: Recipe, model: Path | None) -> None:
    """Raise UsageError for a template that needs what neither the files in `model` nor, without it, a tokenizer made
    from scratch can have."""
    name = recipe.model.template
    if recipe.train.stage == "pt":  # plain text has no template
        return
    if name == OWN:
        if not _may_have_own(model):
            raise UsageError(
                "the tokenizer brings no chat template, which model.template: own needs",
                where=str(model or "model.init"),
                hint="choose one of `llmctl recipes templates`",
            )
        return
    missing = [token for token in TEMPLATES[name].special_tokens() if not _may_have(model, token)]
    if missing:
        raise UsageError(
            f"the tokenizer has no {', '.join(missing)}, which the template {name} needs",
            where=str(model or "model.init"),
            hint="choose the template that the model was made with (model.template)",
        )


def _may_have_own(model: Path | None) -> bool:
    if model is None:
        return False
    files = [*model.glob("*chat_template*"), *model.glob("*.py")]
    return bool(files) or any("chat_template" in text for text in _texts(model, "tokenizer_config.json"))


def _may_have(model: Path | None, token: str) -> bool:
    """A tokenizer made from scratch parts words from other characters; one of letters alone it may learn."""
    if model is None:
        return token.isalnum()
    if not (model / "tokenizer.json").is_file() or any(next(model.glob(form), None) for form in _OTHER_FORMS):
        return True
    spelled = (token, json.dumps(token)[1:-1], _ESCAPED)
    return any(word in text for text in _texts(model, "*.json") for word in spelled)


def _texts(folder: Path, form: str) -> Iterator[str]:
    return (path.read_text(encoding="utf-8", errors="replace") for path in folder.glob(form) if path.is_file())
