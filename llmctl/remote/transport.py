"""What every way to reach a node has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmctl.recipe.hosts import Node


@dataclass(frozen=True)
class CommandResult:
    """What a command left: exit code (128+n for signal n), and its two streams as text."""

    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.code == 0


class Transport(Protocol):
    """An open connection to one node. Methods raise NodeError when the node cannot be reached, never for a
    command's own non-zero exit. `run` gives `command` to the node's sh; quoting is the caller's work."""

    node: Node

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult: ...

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:
        """Write files (absolute remote path -> content or local file), each aside, then renamed; folders are made."""

    def get(self, remote: str, local: Path) -> None:
        """Copy one remote file to `local`."""

    def close(self) -> None: ...
