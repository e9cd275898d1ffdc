"""A file or folder on the launcher as it goes to nodes: every name, every sha256, and no link that leads out of it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmctl.errors import ManyErrors, UsageError
from llmctl.onnode import receive
from llmctl.remote.inventory import write_private
from llmctl.resources import home_dir


class Item(NamedTuple):
    """One file: its name below the folder, its bytes, whether it may be run, when it was written (ns), its sha256."""

    name: str
    size: int
    executable: bool
    written: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What travels. Names are relative, with `/`; bytes that are no UTF-8 are escaped as Python does it."""

    root: Path
    kind: Literal["file", "folder"]
    files: tuple[Item, ...]
    folders: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """Name and goal; the goal is relative and inside the folder."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.files)

    @property
    def digest(self) -> str:
        """The sha256 over kind, names and contents."""
        content = [self.kind, [(item.name, item.executable, item.sha256) for item in self.files]]
        return hashlib.sha256(json.dumps([*content, self.folders, self.links]).encode("ascii")).hexdigest()

    def path(self, item: Item) -> Path:
        """Where a file lies on the launcher."""
        return self.root if self.kind == "file" else self.root / item.name

    def request(self) -> dict[str, Any]:
        """As receive.py takes it."""
        return {
            "kind": self.kind,
            "digest": self.digest,
            "files": [list(item) for item in self.files],
            "dirs": list(self.folders),
            "links": [list(link) for link in self.links],
        }


def survey_parcel(path: Path, tell: Callable[[int], None]) -> Parcel:
    """Read everything once; digests are kept by size, time and inode, so that a second survey reads nothing. `tell`
    gets the bytes read so far.

    Raises UsageError for what is not there or cannot be read, ManyErrors naming links that lead out of the folder and
    what is neither file, folder nor link."""
    try:
        root = path.resolve(strict=True)
        if root.is_file():
            found = {root.name: root}
            return Parcel(root=root, kind="file", files=_items(root, found, tell))
        if not root.is_dir():
            raise UsageError("is neither a file nor a folder", where=str(path))
        files, folders, links = _sorted_out(root)
        return Parcel(root=root, kind="folder", files=_items(root, files, tell), folders=folders, links=links)
    except FileNotFoundError as error:
        hint = "the first word is what lies on this machine: llmctl push PATH NODES --to REMOTE"
        raise UsageError("no such file or folder", where=str(error.filename or path), hint=hint) from None
    except OSError as error:
        raise UsageError("cannot be read", where=str(error.filename or path), why=str(error.strerror)) from None


def _sorted_out(root: Path) -> tuple[dict[str, Path], tuple[str, ...], tuple[tuple[str, str], ...]]:
    files: dict[str, Path] = {}
    folders: list[str] = []
    links: list[tuple[str, str]] = []
    errors: list[UsageError] = []
    for raw, entry in receive.walk(os.fsencode(root)):
        name = receive.shown(raw)
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            goal = os.path.realpath(root / name)
            if not Path(goal).is_relative_to(root):
                errors.append(UsageError("a link leads out of the folder", where=name, why=f"it leads to {goal}"))
            else:
                links.append((name, os.path.relpath(goal, (root / name).parent)))
        elif stat.S_ISDIR(mode):
            folders.append(name)
        elif stat.S_ISREG(mode):
            files[name] = root / name
        else:
            errors.append(UsageError("is neither file, folder nor link", where=name))
    if errors:
        hint = "make a copy without links and push that: cp -rL FOLDER COPY"
        raise ManyErrors(errors, where=str(root), hint=hint)
    return files, tuple(folders), tuple(links)


def _items(root: Path, files: dict[str, Path], tell: Callable[[int], None]) -> tuple[Item, ...]:
    kept = home_dir() / "digests" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
    before: dict[str, Any] = receive.load(os.fsencode(kept))
    found = receive.digests({name: os.fsencode(path) for name, path in files.items()}, before, _Told(tell))
    if found != before:
        write_private(kept, json.dumps(found))
    return tuple(
        Item(name, found[name][0], bool(path.stat().st_mode & 0o100), found[name][1], found[name][3])
        for name, path in sorted(files.items())
    )


class _Told:
    """Counts for `digests`, which reads with several threads."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._done = 0

    def add(self, count: int) -> None:
        self._done += count
        self._tell(self._done)
