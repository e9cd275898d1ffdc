"""Small files that go to a node in one command: over sftp each of them costs four round trips."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SMALL = 64 << 10
"""Bytes of a file that goes together with others."""
CONTENT = 4 << 20
"""Bytes of the files of one command."""
LINE = 96 << 10
"""Bytes of the command; one argument holds 128 KiB."""


@dataclass(frozen=True)
class Bundle:
    """Files by their absolute names on the node."""

    files: Mapping[str, bytes]

    def command(self, *, private: bool) -> str:
        """The script that takes the joined content on standard input; it fails unless every byte was written.
        `private`: nobody else may read the files."""
        names = {shlex.quote(name): len(content) for name, content in self.files.items()}
        taken = " && ".join(f"head -c {size} > {name}" for name, size in names.items())
        # A head that reads ahead leaves too little to those after it.
        whole = f'[ "$(cat -- {" ".join(names)} | wc -c)" -eq {sum(names.values())} ]'
        return f"{'umask 077; ' if private else ''}{taken} && {whole}"

    def content(self) -> bytes:
        """What goes to the script's standard input."""
        return b"".join(self.files.values())


def bundles(files: Mapping[str, bytes | Path]) -> tuple[list[Bundle], dict[str, bytes | Path]]:
    """The small ones of `files` in bundles, and the rest, which goes one by one."""
    made: list[Bundle] = []
    rest: dict[str, bytes | Path] = {}
    waiting: dict[str, bytes] = {}
    line = size = 0
    for name, source in files.items():
        content = _small(source)
        if content is None:
            rest[name] = source
            continue
        line, size = line + _room(name), size + len(content)
        if waiting and (line > LINE or size > CONTENT):
            made.append(Bundle(waiting))
            waiting, line, size = {}, _room(name), len(content)
        waiting[name] = content
    return [*made, *([Bundle(waiting)] if waiting else [])], rest


def _room(name: str) -> int:
    """Bytes that a name takes in the command: twice, quoted for its script and with that for the login shell."""
    return 2 * len(shlex.quote(shlex.quote(name)).encode("utf-8", "surrogateescape")) + 24


def _small(source: bytes | Path) -> bytes | None:
    """The content, when there is little of it and it is not a pipe."""
    if isinstance(source, Path):
        if not source.is_file() or source.stat().st_size > SMALL:
            return None
        source = source.read_bytes()
    return source if len(source) <= SMALL else None
