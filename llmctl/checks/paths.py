"""What a recipe expects to lie on the nodes already: the model, the data, the adapter, the user's own code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from llmctl.checks.estimate import read_config
from llmctl.checks.facts import Severity
from llmctl.checks.rows import DEEP_SECONDS, Row
from llmctl.quoting import sh_quote
from llmctl.resources import onnode_text

KEYS = {"model": "model.path", "adapter": "train.lora.adapter", "data": "data.dir", "code": "cluster.code"}


def path_rows(places: Mapping[str, Sequence[str]], *, deep: bool = False, local: bool = False) -> list[Row]:
    """A row for each kind of KEYS that has places on the nodes; `local`: the one node is this machine."""
    mode = "deep" if deep else "quick"
    return [
        Row(
            name=f"{kind}.files",
            run=f'"$LLMCTL_PYTHON" -c {sh_quote(onnode_text("digests.py"))} {mode} {" ".join(map(sh_quote, paths))}',
            parse=_files,
            seconds=DEEP_SECONDS if deep else None,
            must=f"{KEYS[kind]} is not on the node: {', '.join(paths)}",
            source=f"`{KEYS[kind]}`: SHA-256 of every file, the commit; of weights over 16 MiB their size and the "
            "header of safetensors, all of them with --deep",
            why="ranks train on different weights, data or code",
            remedy=("put it there" if local else f"from the folder where it lies here: {_push(paths[0])}")
            + ("" if kind == "code" else f"; or let it be staged (docs/recipe.md, {KEYS[kind]})"),
        )
        for kind, paths in places.items()
        if paths
    ]


def _push(path: str) -> str:
    """The command that brings it to its place on all nodes."""
    return f"llmctl push {sh_quote(PurePosixPath(path).name)} NODES --to {sh_quote(path)}"


def config_rows(places: Mapping[str, Sequence[str]]) -> list[Row]:
    """What tells the size of a model that lies on the nodes."""
    return [
        Row(
            name="model.config",
            run=f"cat {sh_quote(f'{path}/config.json')}",
            parse=read_config,
            mode="told",
            severity=Severity.INFO,
            source="`config.json` of `model.path`",
            why="for the estimates of `disk.workdir` and `host.memory`; without it there are none",
        )
        for path in places.get("model", ())
    ]


def _files(out: str) -> dict[str, str]:
    files: Any = json.loads(out)["files"]
    return dict(files)
