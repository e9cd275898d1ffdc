"""Files that travel together, and the digest by which they are known on the nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmctl_engine.digests import Digest, file_sha256


@dataclass(frozen=True)
class Tree:
    """Files that travel together: relative path -> file on the launcher, and the digest of all of it."""

    files: Mapping[str, Path]
    digest: str

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(path.stat().st_size for path in self.files.values())


def make_tree(files: Mapping[str, Path], digest: Digest = file_sha256) -> Tree:
    """A tree of files that are read for it."""
    return known_tree(files, {name: digest(path) for name, path in files.items()})


def known_tree(files: Mapping[str, Path], digests: Mapping[str, str]) -> Tree:
    """A tree of files whose sha256 are known. `digest` is the sha256 over `path NUL size NUL sha256 NEWLINE` of every
    file, sorted by path."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{files[name].stat().st_size}\0{digests[name]}\n".encode())
    return Tree(files=dict(sorted(files.items())), digest=whole.hexdigest())


def files_below(folder: Path) -> dict[str, Path]:
    """All files by relative path without Python's caches, which the nodes leave out of their digests."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {str(name): path for name, path in found.items() if "__pycache__" not in name.parts}
