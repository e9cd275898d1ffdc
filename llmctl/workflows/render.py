"""From a recipe to everything that a run would write and start, nothing of it done."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmctl_engine.digests import file_sha256

from llmctl.checks.folding import fold
from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node, recipe_nodes, spare_nodes
from llmctl.recipe.load import LoadedRecipe, as_words, load_recipe
from llmctl.render.commands import NodeCommand, commands
from llmctl.render.files import render
from llmctl.run.ids import new_run_id
from llmctl.run.index import runs_folder
from llmctl.run.inputs import Inputs, survey
from llmctl.run.plan import Plan, make_plan
from llmctl.workflows.fitting import find_fitting, told_of


@dataclass(frozen=True)
class Draft:
    """A run that has been worked out but not begun."""

    loaded: LoadedRecipe
    nodes: tuple[Node, ...]
    inputs: Inputs
    plan: Plan
    spares: tuple[Node, ...] = ()
    remarks: tuple[str, ...] = ()
    """On what is prepared of its data, a line each."""

    @property
    def files(self) -> dict[str, str]:
        """Relative path -> text of every rendered file."""
        return render(self.plan)

    @property
    def commands(self) -> tuple[NodeCommand, ...]:
        return commands(self.plan)


def draft(
    source: str | Path,
    *,
    sets: Sequence[str] = (),
    runs: Path | None = None,
    run_id: str | None = None,
    addresses: Mapping[str, str] | None = None,
    interfaces: Mapping[str, str | None] | None = None,
    master_port: int | None = None,
    resume: bool = False,
    beside: Path | None = None,
    nodes: Sequence[Node] | None = None,
) -> Draft:
    """Load a recipe and plan its run. `addresses`, `interfaces` and `master_port` are what the nodes told; without
    them the plan stands on the recipe alone. `beside` is the file that relative paths start beside, when that is not
    the source; `nodes` stand in the place of the recipe's own, in the same order of ranks.

    Raises UsageError for anything wrong in the recipe or missing beside it."""
    loaded = load_recipe(source, sets)
    loaded = replace(loaded, path=beside) if beside else loaded
    recipe = loaded.recipe
    own = recipe_nodes(recipe, loaded.folder)
    spares = spare_nodes(recipe, own)
    nodes = tuple(nodes or own)
    if nodes[0].name != own[0].name and recipe.cluster.master_addr:
        # The address that was asked for is that of a node which is not the first any more.
        cluster = recipe.cluster.model_copy(update={"master_addr": None})
        recipe = recipe.model_copy(update={"cluster": cluster})
        loaded = replace(loaded, recipe=recipe)
    digest = functools.cache(file_sha256)  # the data counts for the key, and by itself
    fit = find_fitting(loaded, digest)
    inputs = replace(survey(recipe, loaded.folder, fit.prepared, digest), key=fit.key)
    run_id = run_id or new_run_id(recipe.name)
    if recipe.launch.backend == "local":
        workdir = str(runs_folder(runs))
        run_dir = f"{workdir}/{run_id}"
    else:
        workdir = str(recipe.cluster.workdir)
        run_dir = f"{workdir}/runs/{run_id}"
    plan = make_plan(
        recipe,
        nodes,
        run_id=run_id,
        paths=inputs.paths(workdir, run_dir),
        addresses=addresses,
        interfaces=interfaces,
        master_port=master_port,
        python=sys.executable if recipe.launch.backend == "local" and not recipe.cluster.container else None,
        resume=resume or recipe.launch.backend == "slurm",  # Slurm itself may start it again
    )
    remarks = told_of(fit, plan, inputs.samples, as_words(str(beside or source), sets))
    return Draft(loaded=loaded, nodes=nodes, inputs=inputs, plan=plan, spares=spares, remarks=remarks)


def meeting_place(plan: Plan) -> str:
    """Where the ranks will meet, and over which interfaces."""
    groups: dict[str, list[str]] = {}
    for node in plan.nodes:
        groups.setdefault(node.interface or "the default interface", []).append(node.name)
    told = ", ".join(f"{interface} on {fold(names)}" for interface, names in groups.items())
    return f"rendezvous {plan.master_addr}:{plan.master_port}; {told}"


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Write rendered files below `folder`. Raises UsageError when it cannot be written."""
    try:
        for name, text in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "cannot write", where=str(error.filename or folder), why=error.strerror or str(error)
        ) from None
