"""The story of `llmctl diff`, and of what stands beside a verdict: what two runs tell of themselves, held together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmctl.checks.catalogue import groups
from llmctl.checks.rows import Row
from llmctl.errors import UsageError
from llmctl.recipe.yaml_file import read_mapping
from llmctl.run.differences import Difference, Told, differences
from llmctl.run.folder import RunFolder
from llmctl.run.prepared import digests_of_tokens
from llmctl.workflows.beside import CONFIGS, model_shape, told_beside
from llmctl.workflows.far import fetching
from llmctl.workflows.report_sources import Source, find_source

VERSIONS = ("python.packages", "python.torch")
"""Facts that say much of two runs, though a check holds them between nodes in other ways."""
RUN_KEYS = ("world_size", "global_batch", "total_steps", "rows", "backend", "seed")


def diff(left: str, right: str, runs: Path | None) -> list[Difference]:
    """What differs between two runs, each given as for a report; a log needs settings beside it. Raises UsageError when
    there is no such run, or nothing that tells of it."""
    with fetching() as fetch:
        told = [_told(find_source(given, runs, fetch)) for given in (left, right)]
    return differences(*told)


def _told(source: Source) -> Told:
    told = told_of(source.path)
    if told is None:
        raise UsageError(
            "nothing tells how this log was made",
            where=source.far or str(source.path),
            why=f"it lies in no run's folder, and none of {', '.join(CONFIGS)} beside it",
            hint="give a run, or a log with its trainer's settings beside it",
        )
    return told


def told_by(folder: RunFolder) -> Told:
    """What a run's folder tells of it. Raises UsageError."""
    manifest = folder.read_manifest()
    try:
        recipe = read_mapping(folder.recipe, what="a recipe", hint="llmctl recipes show quickstart")
    except OSError as error:
        raise UsageError("the recipe of this run cannot be read", where=str(folder.recipe), why=str(error)) from None
    git = manifest.get("git") or {}
    return Told(
        recipe=recipe,
        run={name: manifest.get(name) for name in RUN_KEYS},
        digests=told_digests(manifest),
        git={"commit": git.get("commit"), "uncommitted": _short(git.get("diff", "")) if git else None},
        facts=_facts(folder) | model_shape(folder.output),
    )


def told_digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What a run read, by kind, with the tokens that it trained on, whoever made them."""
    tokens = manifest.get("trained_on")
    return {**manifest.get("digests", {}), **(digests_of_tokens(tokens) if tokens else {})}


def told_of(log: Path) -> Told | None:
    """What the folder of the run that a log lies in, or another trainer's settings beside it, tell; None where nothing
    does. Raises UsageError for a run's folder that cannot be read."""
    for folder in map(RunFolder, (log, log.parent, log.parent.parent)):
        if folder.manifest.is_file() and folder.recipe.is_file() and log in (folder.root, folder.steps):
            return told_by(folder)
    return told_beside(log)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "nothing"


def _facts(folder: RunFolder) -> dict[str, Any]:
    """The facts that have to be the same everywhere, by name; a list where the nodes themselves differ."""
    rows = [row for of_group in groups().values() for row in of_group if isinstance(row, Row)]
    wanted = {row.name for row in rows if row.mode == "eq" or row.name in VERSIONS}
    values: dict[str, list[Any]] = {}
    for path in sorted((folder.root / "env").glob("*.json")):
        for fact in json.loads(path.read_text(encoding="utf-8")):
            if fact["name"] in wanted and fact.get("error") is None:
                for name, value in _parts(fact["name"], fact["value"]):
                    values.setdefault(name, []).append(value)
    return {name: _one(found) for name, found in values.items() if _all_packages(name) not in values}


def _all_packages(name: str) -> str:
    """What tells a version among all packages, for a fact that tells it once more; else a name of no fact."""
    for own in ("package.", "packages.other."):
        if name.startswith(own):
            return VERSIONS[0] + "." + name.removeprefix(own)
    return ""


def _parts(name: str, value: Any) -> list[tuple[str, Any]]:
    """A fact that is a mapping, such as all packages, is as many facts."""
    if not isinstance(value, Mapping):
        return [(name, value)]
    return [part for key, inner in value.items() for part in _parts(f"{name}.{key}", inner)]


def _one(values: list[Any]) -> Any:
    distinct = {json.dumps(value, sort_keys=True): value for value in values}
    return next(iter(distinct.values())) if len(distinct) == 1 else [distinct[key] for key in sorted(distinct)]
