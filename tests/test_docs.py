"""What the documents promise: every key of a recipe with its default, and no link into the void."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from llmctl.recipe.schema import Recipe

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")])


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Key path -> default of every key that is no block."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        blocks = [
            kind
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if blocks:
            found |= keys(blocks[0], f"{prefix}{name}.")
        else:
            found[prefix + name] = field.get_default(call_default_factory=True)
    return found


def default_text(value: Any) -> str:
    """A default as the table shows it."""
    if value is PydanticUndefined:
        return "needed"
    return "none" if value is None else f"`{json.dumps(value)}`"


def test_every_key_of_a_recipe_is_documented_with_its_default() -> None:
    page = (CHECKOUT / "docs/recipe.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    assert dict(rows) == {key: default_text(default) for key, default in keys(Recipe).items()}
    assert len(rows) == len(dict(rows))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_broken(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []
