"""Prepared folders on the launcher: what is tokenised and packed already, by its key and by its recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl.resources import cache_dir
from llmctl.run.trees import Tree, known_tree

STATISTICS = "prepared.json"
MADE = "made.json"
"""Beside the statistics: which recipe it was made from. Only the launcher reads it, and it does not go to the nodes."""
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A prepared folder, by what its `prepared.json` tells; its other files are not read for that."""

    folder: Path
    told: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The digest over all that the tokens follow from."""
        return str(self.told["key"])

    @property
    def samples(self) -> int:
        """What fills one place of a batch: packs, or examples where nothing is packed."""
        packs = self.told.get("packs")
        return int(self.told["examples"] if packs is None else packs)

    @property
    def rows(self) -> int:
        """Rows of all datasets together that could be trained on."""
        summary = self.told["summary"]
        return int(summary["rows"]) - len(summary["broken_rows"])

    @property
    def files(self) -> Mapping[str, str]:
        """Relative path -> sha256 of every file but `prepared.json`."""
        files: Mapping[str, str] = self.told["files"]
        return files

    def tree(self) -> Tree:
        """What travels, with the digest that it must have on a node. The large files are not read again for it."""
        own = self.folder / STATISTICS
        digests = {**self.files, STATISTICS: hashlib.sha256(own.read_bytes()).hexdigest()}
        return known_tree({name: self.folder / name for name in digests}, digests)

    def record(self) -> dict[str, Any]:
        """For a manifest: which bytes are trained on."""
        return {
            name: self.told.get(name) for name in ("key", "examples", "tokens", "label_tokens", "packing", "packs")
        } | {"files": dict(self.files)}


def prepared_dir() -> Path:
    """Where they lie on the launcher, each under the first 16 letters of its key."""
    return cache_dir() / "prepared"


def read_prepared(folder: Path) -> Prepared | None:
    """The prepared folder at `folder`; None where there is none, or one of another form, or files of it are missing."""
    try:
        told = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))
        whole = told["schema"] == SCHEMA and all((folder / name).is_file() for name in told["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Prepared(folder=folder, told=told) if whole else None
