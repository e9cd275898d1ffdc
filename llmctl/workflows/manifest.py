"""The record of a run, from which it can be followed, judged and made again."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmctl import __version__
from llmctl.errors import UsageError
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.run import index
from llmctl.run.folder import RunFolder
from llmctl.run.prepared import digests_of_tokens
from llmctl.run.states import State
from llmctl.workflows.leases import wanted as leased_devices

if TYPE_CHECKING:
    from llmctl.checks.facts import Finding
    from llmctl.recipe.schema import Recipe
    from llmctl.workflows.render import Draft

SCHEMA = 1
LARGEST_DIFF = 1024 * 1024
"""Characters of an uncommitted difference that are kept."""


def first_manifest(draft: Draft, job: Job, *, sets: Sequence[str], allowed: Sequence[Finding]) -> dict[str, Any]:
    """What is known of a run before it starts."""
    recipe = draft.loaded.recipe
    return {
        "schema": SCHEMA,
        "run_id": job.run_id,
        "name": recipe.name,
        "created": time.time(),
        "versions": {"llmctl": __version__, "python": platform.python_version()},
        "git": git_state(draft.loaded.folder),
        "recipe": {"path": str(draft.loaded.path), "folder": str(draft.loaded.folder), "set": list(sets)},
        "backend": recipe.launch.backend,
        "nodes": [asdict(node) for node in draft.nodes],
        "launch": recipe.launch.model_dump(mode="json"),
        "spares": [asdict(node) for node in draft.spares],
        "login": login_of(recipe),
        "job": asdict(job),
        "devices": {node: list(numbers) for node, numbers in leased_devices(draft.plan).items()},
        "world_size": draft.plan.world_size,
        "global_batch": draft.plan.global_batch,
        "total_steps": draft.plan.steps(draft.inputs.samples),
        "rows": draft.inputs.rows,
        "seed": recipe.train.seed,
        "judged": draft.loaded.recipe.report.model_dump(include={"profile", "gates"}),
        "reference": str(draft.inputs.reference) if draft.inputs.reference else None,
        "digests": digests_of(draft),
        "trained_on": draft.inputs.prepared.record() if draft.inputs.prepared else None,
        "commands": [asdict(command) for command in draft.commands],
        "allowed_findings": [{"code": finding.code, "title": finding.title} for finding in allowed],
        "output": f"{job.nodes[0]}:{draft.plan.paths.run_dir}/output",
    }


def digests_of(draft: Draft) -> dict[str, str]:
    """What a run reads, by kind: all that is staged, and the data and prepared tokens that are used where they lie."""
    inputs = draft.inputs
    found = {kind: tree.digest for kind, tree in inputs.staged.items()}
    if inputs.data:
        found["data"] = inputs.data.digest
    if inputs.prepared:
        found |= digests_of_tokens(inputs.prepared.record())
    elif inputs.key:
        found["prepared"] = inputs.key
    return found


def login_of(recipe: Recipe) -> dict[str, Any]:
    """How the nodes are logged in to: user, port, and the machine `through` which alone Slurm is reached."""
    slurm = recipe.launch.slurm
    return {"user": recipe.cluster.user, "port": recipe.cluster.port, "through": slurm.login if slurm else None}


def note_state(folder: RunFolder, state: State, **values: Any) -> None:
    """Write a run's new state to its manifest and to the index of runs."""

    def change(old: dict[str, Any]) -> dict[str, Any]:
        states = old.get("states", [])
        if not states or states[-1]["state"] != state:
            states = [*states, {"state": state, "time": time.time()}]
        return {"state": state, "states": states, **values}

    manifest = folder.change_manifest(change)
    index.record(folder, state, tuple(node["name"] for node in manifest.get("nodes", ())))


def read_job(folder: RunFolder) -> tuple[Job, list[Node], dict[str, Any]]:
    """The job and the nodes of a run that was started, and its whole manifest. Raises UsageError for a manifest of
    another version."""
    manifest = folder.read_manifest()
    if manifest.get("schema") != SCHEMA:
        raise UsageError(
            f"the manifest has schema {manifest.get('schema')}, this llmctl reads {SCHEMA}", where=str(folder.manifest)
        )
    job = Job(**(manifest["job"] | {"nodes": tuple(manifest["job"]["nodes"])}))
    return job, [Node(**node) for node in manifest["nodes"]], manifest


def git_state(folder: Path) -> dict[str, str] | None:
    """Commit and uncommitted difference of the repository that holds `folder`; None outside of one."""

    def git(*words: str) -> str | None:
        argv = ["git", "-C", str(folder), *words]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "diff": (git("diff", "HEAD") or "")[:LARGEST_DIFF]}
