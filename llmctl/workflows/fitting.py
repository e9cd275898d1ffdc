"""What the tokens of a recipe follow from on this machine, and whether a prepared folder fits it as it is now."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl_engine.digests import Digest, file_sha256
from llmctl_engine.errors import EngineError
from llmctl_engine.parts import differences, key_of, parts_of

from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node, recipe_nodes
from llmctl.recipe.load import LoadedRecipe
from llmctl.recipe.schema import Recipe
from llmctl.render.files import engine_config
from llmctl.resources import engine_dir
from llmctl.run.inputs import dataset_files, launcher_data, missing
from llmctl.run.plan import NodePaths, Plan, make_plan
from llmctl.run.prepared import Prepared, made_from, place_of, read_prepared


def plan_here(loaded: LoadedRecipe) -> Plan:
    """The plan of a run with the paths of this machine. A tokenizer at an absolute path counts if it is here too: the
    nodes compare its files with theirs, as they cannot with rows. Raises UsageError for data or a tokenizer that only
    the nodes have, and for datasets that are not there."""
    recipe, folder = loaded.recipe, loaded.folder
    data = launcher_data(recipe, folder)
    model = folder / recipe.model.path if recipe.model.path else None
    nodes = recipe_nodes(recipe, folder)
    if data is None or not data.is_dir():
        raise _away(recipe, nodes, "data.dir", recipe.data.dir, folder)
    if model is not None and not model.is_dir():
        raise _away(recipe, nodes, "model.path", str(recipe.model.path), folder)
    dataset_files(recipe, data)
    paths = NodePaths(
        run_dir=str(folder),
        engine_dir=str(engine_dir()),
        data_dir=str(data),
        model_path=str(model.resolve()) if model else None,
        adapter_path=None,
    )
    return make_plan(recipe, nodes, run_id=f"{recipe.name}-prepare", paths=paths)


def _away(recipe: Recipe, nodes: Sequence[Node], key: str, given: str, folder: Path) -> UsageError:
    here = folder / given
    if recipe.launch.backend == "local":
        return missing(here, key)
    what = "the data" if key == "data.dir" else "the tokenizer"
    first = nodes[0].name if nodes else "NODE"
    there = f"{first}:{Path(str(recipe.cluster.workdir)) / given}"
    if key == "data.dir" and Path(given).is_absolute():
        return UsageError(
            "the data lies on the nodes, so it cannot be prepared here",
            where=f"{key}: {given}",
            why=f"with backend {recipe.launch.backend} an absolute path is one on the nodes",
            hint=f"bring it beside the recipe: scp -r {there} {folder}/, and set {key}: {here.name}; or leave it: "
            "`llmctl run` prepares on each node before it trains",
        )
    files = there if key == "data.dir" else f"'{there}/*.{{json,model,txt,jinja}}'"
    return UsageError(
        f"{what} lies on the nodes only, so it cannot be prepared here",
        where=f"{key}: {given}",
        why=f"there is no {here} on this machine",
        hint=f"bring it: {_bring(files, here, whole=key == 'data.dir')}; or leave it: `llmctl run` prepares on each "
        "node before it trains",
    )


def _bring(there: str, here: Path, *, whole: bool) -> str:
    return f"scp -r {there} {here}" if whole else f"mkdir -p {here} && scp {there} {here}/"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a run of a recipe finds prepared."""

    key: str | None = None
    """Of the tokens; None where the data or the tokenizer is not on this machine."""
    prepared: Prepared | None = None
    remark: str = ""
    """Why what was prepared from the recipe is not used, in a line."""


def find_fitting(loaded: LoadedRecipe, digest: Digest = file_sha256) -> Fit:
    """The prepared folder of a recipe as it is now."""
    try:
        parts = parts_of(engine_config(plan_here(loaded)), digest=digest)
    except (UsageError, EngineError):  # the nodes have it; or it is told by those who look at the data
        return Fit()
    key = key_of(parts)
    found = read_prepared(place_of(key))
    before = made_from(loaded.path) if found is None else []
    if not before:
        return Fit(key=key, prepared=found)
    what = ", ".join(_changed(before[-1].told["made_from"], parts)) or "its form"
    return Fit(key=key, remark=f"what was prepared of this recipe is not used; since then changed: {what}")


def told_of(fit: Fit, plan: Plan, samples: int | None, words: Sequence[str]) -> tuple[str, ...]:
    """What a person is told before the run of a recipe that was given in `words`: which tokens it takes, or what is
    not known without them."""
    if fit.prepared is not None:
        return (f"trains on what is prepared: {_count(fit.prepared)}, {fit.prepared.folder}",)
    lines = [fit.remark] if fit.remark else []
    if fit.key and plan.steps(samples) is None:
        command = shlex.join(["llmctl", "prepare", *words])
        lines.append(f"how many steps it takes follows from the tokens; {command} tells it before")
    return tuple(lines)


def _count(prepared: Prepared) -> str:
    told = prepared.told
    packs = "" if told["packs"] is None else f" in {told['packs']:,} packs"
    return f"{told['examples']:,} examples{packs}, {told['tokens']:,} tokens"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the parts of a key is not the same any more."""
    old, new = before["data"], now["data"]
    return differences(before, now) + [f"the rows of {name}" for name in new if name in old and old[name] != new[name]]
