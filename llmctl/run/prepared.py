"""Prepared folders on the launcher: what is tokenised and packed already, by its key and by its recipe."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl_engine.about import ABOUT, RECORDED, SCHEMA, SUMMARY
from llmctl_engine.digests import file_sha256, files_sha256

from llmctl.resources import cache_dir
from llmctl.run.folder import write_json
from llmctl.run.trees import Tree, known_tree

MADE = "made.json"
"""Beside the statistics: which recipe it was made from. Only the launcher reads it, and it does not go to the nodes."""


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
        digests = {**self.files, ABOUT: file_sha256(self.folder / ABOUT)}
        return known_tree({name: self.folder / name for name in digests}, digests)

    def record(self) -> dict[str, Any]:
        """For a manifest: which bytes are trained on."""
        return {name: self.told.get(name) for name in RECORDED}


def prepared_dir() -> Path:
    """Where they lie on the launcher, each under the first 16 letters of its key."""
    return cache_dir() / "prepared"


def read_prepared(folder: Path) -> Prepared | None:
    """The prepared folder at `folder`; None where there is none, or one of another form, or files of it are missing."""
    try:
        told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        whole = told["schema"] == SCHEMA and all((folder / name).is_file() for name in told["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Prepared(folder=folder, told=told) if whole else None


def trained_on(output: Path) -> dict[str, Any] | None:
    """What the engine tells in a run's output of the bytes that it trained on; None where it tells nothing."""
    try:
        told = json.loads((output / SUMMARY).read_text(encoding="utf-8"))["prepared"]
        return {name: told[name] for name in RECORDED}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def digests_of_tokens(record: Mapping[str, Any]) -> dict[str, str]:
    """Of such a record: the key, and one digest over the digests of all files."""
    return {"prepared": record["key"], "tokens": files_sha256(record["files"])}


def place_of(key: str) -> Path:
    """The folder of a key."""
    return prepared_dir() / key[:16]


LOCK = "lock"
"""Held by whoever makes a folder."""


@contextmanager
def alone(folder: Path, waiting: Callable[[], None]) -> Iterator[Path]:
    """Be the only one who makes `folder`: a folder beside it that is empty but for a lock, and gone at the end. Another
    process that makes the same is waited for. Raises OSError where nothing can be written."""
    aside = folder.parent / f".{folder.name}.making"
    handle = _locked(aside, waiting)
    try:
        for left in aside.iterdir():  # of somebody who was killed
            if left.name != LOCK:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(handle)


def _locked(aside: Path, waiting: Callable[[], None]) -> int:
    """The lock in `aside`, held. A file: over NFS only what is open for writing can be locked. The folder that holds
    all of them is made for this user alone: it is the text of whatever was prepared."""
    lock = aside / LOCK
    while True:
        aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            aside.mkdir(exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # whoever was here has just removed it
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _lies_at(handle, lock):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever held it has removed it


def _lies_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def note_recipe(folder: Path, recipe: Path) -> None:
    """Write down in a folder which recipe it was made from."""
    write_json(folder / MADE, {"recipe": str(recipe)})


def made_from(recipe: Path) -> list[Prepared]:
    """What was prepared from a recipe, the newest last, whether it fits it still or not."""
    marks = sorted(prepared_dir().glob(f"[!.]*/{MADE}"), key=lambda mark: mark.stat().st_mtime)
    found = [read_prepared(mark.parent) for mark in marks if _names(mark, recipe)]
    return [each for each in found if each is not None]


def _names(mark: Path, recipe: Path) -> bool:
    try:
        return bool(json.loads(mark.read_text(encoding="utf-8"))["recipe"] == str(recipe))
    except (OSError, ValueError, KeyError, TypeError):
        return False
