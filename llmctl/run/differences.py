"""What differs between two runs, the most suspicious first. Pure: what both told comes in as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

SUSPICION = (
    "digests.*",
    "model.*",
    "recipe.model.*",
    "recipe.data.*",
    "recipe.train.*",
    "run.global_batch",
    "run.world_size",
    "run.total_steps",
    "run.rows",
    "recipe.deepspeed.*",
    "package.*",
    "python.*",
    "accelerator.*",
    "toolkit.*",
    "driver.*",
    "environment.*",
    "git.*",
    "recipe.*",
)
"""Patterns of names; what stands higher explains a difference of the losses sooner."""
SILENT = (
    "recipe.name",
    "recipe.cluster.nodes*",
    "recipe.cluster.hostfile",
    "recipe.cluster.workdir",
    "recipe.cluster.user",
    "recipe.cluster.port",
    "recipe.cluster.master_*",
    "recipe.launch.notify",
    "recipe.report.*",
)
"""What says where and under which name a run went on, and nothing of what was computed."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run tells of itself."""

    recipe: Mapping[str, Any]
    """The resolved recipe, nested."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """World size, global batch, steps, rows."""
    digests: Mapping[str, Any] = field(default_factory=dict)
    """Of data, weights and engine."""
    git: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of its nodes and its model, by name; several values where the nodes differed."""
    whole: bool = True
    """The recipe is complete: a key that it lacks was not set. Not so for the settings of another trainer."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One value that is not the same; None where a run does not have it."""

    name: str
    left: str | None
    right: str | None


def differences(left: Told, right: Told) -> list[Difference]:
    """Every value that both could tell and that is not the same. A fact or digest that only one run read says nothing;
    a key of the recipe that only one has does, when both recipes are whole."""
    here, there = _flat(left), _flat(right)
    alone = left.facts.keys() ^ right.facts.keys()
    alone |= {f"digests.{kind}" for kind in left.digests.keys() ^ right.digests.keys()}
    if not (left.whole and right.whole):
        alone |= here.keys() ^ there.keys()
    found = [
        Difference(name=name, left=_text(here.get(name)), right=_text(there.get(name)))
        for name in here.keys() | there.keys()
        if name not in alone and not _same(name, here.get(name), there.get(name)) and not _matches(name, SILENT)
    ]
    return sorted(found, key=lambda each: (_place(each.name), each.name))


def _flat(told: Told) -> dict[str, Any]:
    nested = {"recipe": told.recipe, "run": told.run, "digests": told.digests, "git": told.git}
    return dict(_leaves(nested, "")) | dict(told.facts)


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name}.{key}" if name else str(key))]
    return [] if value is None else [(name, value)]


def _same(name: str, here: Any, there: Any) -> bool:
    """Equal; a template without a version is every version of it, and modules have no order."""
    if name == "recipe.train.lora.targets" and isinstance(here, list | tuple) and isinstance(there, list | tuple):
        return set(here) == set(there)
    if name == "recipe.model.template" and not ("@" in str(here) and "@" in str(there)):
        return str(here).partition("@")[0] == str(there).partition("@")[0]
    return bool(here == there)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _place(name: str) -> int:
    return next((place for place, pattern in enumerate(SUSPICION) if fnmatchcase(name, pattern)), len(SUSPICION))
