"""Digests of files. Standard library only: the launcher takes them too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

Digest = Callable[[Path], str]
"""A file -> its sha256; whoever asks twice hands on one that remembers."""


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes. Raises OSError for one that cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(digests: Mapping[str, str]) -> str:
    """One sha256 over the names of files and their digests."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
