"""The shipped recipes and the schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmctl.recipe.hosts import recipe_nodes
from llmctl.recipe.load import find_recipe, load_recipe
from llmctl.recipe.schema import Recipe
from llmctl.resources import data_dir


@dataclass(frozen=True)
class Shipped:
    """A shipped recipe in a line."""

    name: str
    device: str
    nodes: int
    devices_per_node: int
    stage: str
    method: str
    about: str


def list_recipes() -> list[Shipped]:
    """Every shipped recipe, by name; `about` is the first comment line of its file."""
    rows = []
    for path in sorted(data_dir("recipes").glob("*.yaml")):
        recipe = load_recipe(path).recipe
        first = path.read_text(encoding="utf-8").splitlines()[0]
        rows.append(
            Shipped(
                name=path.stem,
                device=recipe.cluster.device,
                nodes=len(recipe_nodes(recipe, path.parent)),
                devices_per_node=recipe.cluster.devices_per_node,
                stage=recipe.train.stage,
                method=recipe.train.method,
                about=first.removeprefix("#").strip(),
            )
        )
    return rows


def show_recipe(name: str) -> str:
    """The text of a recipe. Raises UsageError when there is none of that name."""
    return find_recipe(name).read_text(encoding="utf-8")


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe."""
    return Recipe.model_json_schema()
