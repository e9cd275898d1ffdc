"""`llmctl bug-report`: one archive of a run that can be shown to others."""

from __future__ import annotations

import getpass
import io
import json
import os
import platform
import socket
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from llmctl import __version__
from llmctl.errors import LlmctlError, UsageError
from llmctl.recipe.load import load_recipe
from llmctl.remote.inventory import load_inventory
from llmctl.resources import home_dir
from llmctl.run.folder import RunFolder
from llmctl.run.index import find_run, runs_folder
from llmctl.run.redact import Redactor, secret_values
from llmctl.run.states import ENDED
from llmctl.workflows.bug_pieces import Piece, pieces
from llmctl.workflows.doctor import doctor

CONTENTS = "CONTENTS.txt"
CRASHES = 3
"""Tracebacks of llmctl's own defects that are taken along, the newest."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One file of the archive. `refused`: why it is not in it after all."""

    name: str
    size: int = 0
    masked: int = 0
    left_out: int = 0
    """Bytes of its middle that were not taken."""
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class BugReport:
    """What was written."""

    path: Path
    files: tuple[Packed, ...]
    anonymous: bool
    ended: bool
    """Whether the run's logs have been collected; those of a run that goes on are still on its nodes."""


def bug_report(
    given: str | None, *, runs: Path | None, output: Path | None, anonymous: bool, tell: Callable[[str], None]
) -> BugReport:
    """Write the archive of a run, mode 0600; without `output` into the current folder, named after the run.

    Raises UsageError when there is no such run, or when the archive's file is there already."""
    folder = find_run(given, runs_folder(runs))
    names = _names(folder) if anonymous else {}
    redactor = Redactor(_secrets(folder), names, addresses=anonymous)
    path = output or Path(f"{redactor.name(folder.run_id)}.bug-report.tar.gz")
    top = redactor.name(folder.run_id)
    packed: list[Packed] = []
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        hint = "remove it, or write elsewhere: -o FILE" if isinstance(error, FileExistsError) else "-o FILE"
        raise UsageError("the report cannot be written", where=str(path), why=str(error.strerror), hint=hint) from None
    try:
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for piece in _all_pieces(folder, runs):
                tell(piece.name)
                packed.append(_pack(archive, top, piece, redactor))
            _add(archive, f"{top}/{CONTENTS}", _contents(packed, anonymous))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    ended = folder.read_manifest().get("state") in ENDED
    return BugReport(path=path, files=tuple(packed), anonymous=anonymous, ended=ended)


def _all_pieces(folder: RunFolder, runs: Path | None) -> Iterable[Piece]:
    yield from pieces(folder.root)
    yield Piece("versions.json", (_json(_versions()),))
    yield Piece("doctor.json", (_json([asdict(row) for row in doctor(runs)]),))
    for crash in sorted((home_dir() / "crash").glob("*.txt"))[-CRASHES:]:
        yield Piece(f"crash/{crash.name}", (crash.read_text(encoding="utf-8", errors="replace"),))


def _pack(archive: tarfile.TarFile, top: str, piece: Piece, redactor: Redactor) -> Packed:
    name = redactor.name(piece.name)
    if piece.refused:
        return Packed(name=name, refused=piece.refused)
    parts = [redactor.text(part) for part in piece.parts]
    text = f"\n[{piece.left_out} bytes are left out here]\n".join(part.text for part in parts)
    size = _add(archive, f"{top}/{name}", text)
    return Packed(name=name, size=size, masked=sum(part.masked for part in parts), left_out=piece.left_out)


def _add(archive: tarfile.TarFile, name: str, text: str) -> int:
    """A file that says nothing of who packed it; its size in bytes."""
    data = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(data))
    return len(data)


def _contents(packed: list[Packed], anonymous: bool) -> str:
    lines = [
        "What looked like a secret is replaced by [masked]; no program recognises every secret, so look at the files.",
        f"Names and addresses of machines and people are {'replaced' if anonymous else 'left as they are'}.",
        "",
        *(f"{file.size:>10}  {file.name}{_remark(file)}" for file in packed),
    ]
    return "\n".join(lines) + "\n"


def _remark(file: Packed) -> str:
    told = [
        f"not taken: it {file.refused}" if file.refused else "",
        f"{file.masked} masked" if file.masked else "",
        f"{file.left_out} bytes of its middle left out" if file.left_out else "",
    ]
    words = ", ".join(word for word in told if word)
    return f"  ({words})" if words else ""


def _secrets(folder: RunFolder) -> frozenset[str]:
    """Values that the recipe or the shell's environment holds under a secret's name."""
    found = secret_values(os.environ)
    try:
        return found | secret_values(load_recipe(folder.recipe).recipe.cluster.env)
    except LlmctlError:  # a recipe of another version is masked by its looks
        return found


def _names(folder: RunFolder) -> dict[str, str]:
    """Names of machines and people -> what stands for them."""
    hosts: dict[str, str] = {}
    users: dict[str, str] = {}
    manifest = folder.read_manifest()
    inventory = load_inventory()
    for node in manifest.get("nodes", []):
        facts = {fact["name"]: fact["value"] for fact in _facts(folder, node["name"])}
        _note(hosts, "host", [node["name"], node["address"], facts.get("network.hostname")])
        _note(users, "user", [node["user"]])
        _note(users, "user", [facts.get("user.name")])
    for name, entry in inventory.items():
        _note(hosts, "host", [name, entry.address])
        _note(users, "user", [entry.user])
    for user in ((manifest.get("login") or {}).get("user"), getpass.getuser(), Path.home().name):
        _note(users, "user", [user])
    here = dict.fromkeys((socket.gethostname(), platform.node()), "launcher")
    return users | here | hosts


def _note(known: dict[str, str], kind: str, names: list[str | None]) -> None:
    """Give the names of one machine or person one stand-in."""
    told = [name for name in names if name and name not in ("localhost", "127.0.0.1", "root")]
    stand_in = next((known[name] for name in told if name in known), f"{kind}{len(set(known.values())) + 1}")
    for name in told:
        known.setdefault(name, stand_in)


def _facts(folder: RunFolder, node: str) -> list[dict[str, Any]]:
    try:
        facts: list[dict[str, Any]] = json.loads(folder.facts(node).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return facts


def _versions() -> Mapping[str, Any]:
    packages = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return {
        "llmctl": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
