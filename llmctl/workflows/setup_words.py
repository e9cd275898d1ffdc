"""What the words of setup-nodes mean: nodes, the hosts of an inventory file, or the nodes of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node, parse_nodes, recipe_nodes
from llmctl.recipe.load import load_recipe
from llmctl.recipe.schema import Cluster
from llmctl.remote.hostsettings import Settings, chosen, read_settings


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The nodes, and what is said about them beside the options of the command."""

    nodes: tuple[Node, ...]
    settings: Mapping[str, Settings] = field(default_factory=dict)
    user: str | None = None
    port: int | None = None
    env_python: str | None = None
    """What a recipe makes its environment with: a conda, or None."""
    env_path: str | None = None


def read_words(words: Sequence[str], inventory: Path | None) -> Asked:
    """The nodes of the command; of an inventory file without words all hosts. Raises UsageError where none is named."""
    if inventory is not None:
        settings = read_settings(inventory)
        if words:
            settings = chosen(settings, parse_nodes(words))
        return Asked(nodes=tuple(each.node for each in settings), settings={each.node.name: each for each in settings})
    if not words:
        raise UsageError("no node is named", hint="llmctl setup-nodes node1=10.0.0.1, or --inventory FILE")
    if len(words) == 1 and words[0].endswith((".yaml", ".yml")):
        return _recipe(words[0])
    return Asked(nodes=parse_nodes(words))


def _recipe(word: str) -> Asked:
    loaded = load_recipe(word)
    if loaded.recipe.launch.backend == "local":
        raise UsageError("this recipe runs on this machine alone", where=str(loaded.path), hint="give nodes instead")
    cluster = loaded.recipe.cluster
    python, path = environment_of(cluster)
    return Asked(
        nodes=recipe_nodes(loaded.recipe, loaded.folder),
        user=cluster.user,
        port=cluster.port,
        env_python=python,
        env_path=path,
    )


def environment_of(cluster: Cluster) -> tuple[str | None, str | None]:
    """The conda that a recipe names, if it does, and where its environment lies: by `conda activate PATH`, by the
    `activate` of a virtual environment or of a conda, by `cluster.python`, else below workdir."""
    python, path = None, None
    for line in cluster.activate:
        by_conda = re.search(r"\b(conda|mamba|micromamba) activate\s+(\S+)", line)
        by_source = re.search(r"(?:source|\.)\s+(/\S+)/bin/activate(?:\s+(\S+))?", line)
        if by_conda:
            python, path = python or by_conda[1], by_conda[2]
        elif by_source and by_source[2]:
            python, path = f"{by_source[1]}/bin/conda", by_source[2]
        elif by_source:
            path = by_source[1]
    if path is None and cluster.python and PurePosixPath(cluster.python).parent.name == "bin":
        path = str(PurePosixPath(cluster.python).parent.parent)
    if path is None or not path.startswith("/"):
        path = f"{cluster.workdir}/env" if cluster.workdir else None
    return python, path
