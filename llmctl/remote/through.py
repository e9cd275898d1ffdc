"""Nodes that are reached through one machine alone, which they share a file system with: one connection for all."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmctl.recipe.hosts import Node
from llmctl.remote.transport import CommandResult, Transport

SESSIONS = 6
"""Commands and copies at once over one connection; sshd refuses more than ten (MaxSessions)."""


@dataclass
class _Shared:
    transport: Transport
    users: int
    sessions: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(SESSIONS))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            last = self.users == 0
        if last:
            self.transport.close()


@dataclass
class Through:
    """A Transport under a node's name whose commands and files are those of the machine before it."""

    node: Node
    _shared: _Shared
    _open: bool = True

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        """Run `command` on the machine before the node."""
        with self._shared.sessions:
            return self._shared.transport.run(command, stdin=stdin, timeout=timeout)

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:
        """Write files there."""
        with self._shared.sessions:
            self._shared.transport.put(files, mode=mode)

    def get(self, remote: str, local: Path) -> None:
        """Copy one file from there."""
        with self._shared.sessions:
            self._shared.transport.get(remote, local)

    def close(self) -> None:
        """Let go of the connection, which ends with the last node's."""
        if self._open:
            self._open = False
            self._shared.leave()


def seats(transport: Transport, nodes: Sequence[Node]) -> dict[str, Transport]:
    """One connection as that of each of `nodes`, by name."""
    shared = _Shared(transport, len(nodes))
    return {node.name: Through(node, shared) for node in nodes}
