"""What an environment is made from: a requirements or lock file, conda's explicit list, or a folder of wheels."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from llmctl.errors import UsageError
from llmctl.remote.parcel import survey_parcel

LISTS = ("requirements.txt", "constraints.txt")
"""Files that say, in a wheelhouse, what of it is installed."""
CONDAS = ("conda", "mamba", "micromamba")


@dataclass(frozen=True, kw_only=True)
class EnvSource:
    """The inputs of an environment. `files` are the texts that go to each node, `first` is the one to start from."""

    kind: Literal["pip", "conda"]
    first: str
    files: Mapping[str, str] = field(repr=False)  # an index in it may hold a token
    wheelhouse: Path | None = None
    contents: str = ""
    """The digest of the wheelhouse."""

    def digest(self, python: str) -> str:
        """The sha256 over everything that decides what comes out; `python` is the interpreter that was asked for."""
        told = [self.kind, self.first, sorted(self.files.items()), self.contents, python]
        return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()


def read_source(path: Path, tell: Callable[[int], None] = lambda _: None) -> EnvSource:
    """Read a file or a folder of wheels. Raises UsageError for what means nothing on another machine, and for a folder
    that does not say which of several versions is meant."""
    if path.is_dir():
        return _wheelhouse(path, tell)
    text = _text(path)
    if re.search(r"^@EXPLICIT\s*$", text, re.MULTILINE):
        return EnvSource(kind="conda", first=path.name, files={path.name: text})
    files: dict[str, str] = {}
    _collect(path.parent, path.name, files)
    return EnvSource(kind="pip", first=path.name, files=files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError("no such file or folder", where=str(path), hint="--env constraints.txt") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cannot be read", where=str(path), why=str(error)) from None


def _collect(folder: Path, name: str, files: dict[str, str]) -> None:
    """A requirements file and those that it includes, by their names below the first one's folder."""
    if name in files:
        return
    files[name] = text = _text(folder / name)
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].strip() if not line.lstrip().startswith("#") else ""
        where = f"{folder / name}:{number}"
        if re.match(r"(-e|--editable)\b|\.{0,2}/|file:|[\w.\[\],-]+\s*@\s*(file:|\.{0,2}/)", words):
            raise UsageError(
                "a path of this machine means nothing on the nodes",
                where=where,
                why=words,
                hint="make a wheel of it and give the folder of wheels: --env wheelhouse/",
            )
        included = re.match(r"(?:-r|-c|--requirement|--constraint)[ =]*(\S+)$", words)
        if included:
            below = PurePosixPath(name).parent / included.group(1)
            if below.is_absolute() or ".." in below.parts:
                raise UsageError(
                    "a file outside of the folder cannot go along", where=where, hint="put it beside this one"
                )
            _collect(folder, str(below), files)


def _wheelhouse(folder: Path, tell: Callable[[int], None]) -> EnvSource:
    wheels = sorted(path.name for path in folder.glob("*.whl"))
    if not wheels:
        raise UsageError("holds no wheel", where=str(folder), hint=f"pip download -d {folder} -r requirements.txt")
    contents = survey_parcel(folder, tell).digest
    listed = next((name for name in LISTS if (folder / name).is_file()), None)
    files: dict[str, str] = {}
    if listed is not None:
        _collect(folder, listed, files)
        return EnvSource(kind="pip", first=listed, files=files, wheelhouse=folder, contents=contents)
    versions: dict[str, set[str]] = {}
    for name in wheels:
        parts = name.split("-")
        if len(parts) < 5:
            raise UsageError("is no name of a wheel", where=str(folder / name))
        versions.setdefault(re.sub(r"[-_.]+", "-", parts[0]).lower(), set()).add(parts[1])
    several = {name: found for name, found in versions.items() if len(found) > 1}
    if several:
        told = "; ".join(f"{name} {', '.join(sorted(found))}" for name, found in several.items())
        raise UsageError(
            "holds several versions of a package",
            where=str(folder),
            why=told,
            hint="say which in a requirements.txt in that folder, or take the others away",
        )
    text = "".join(f"{name}=={found.pop()}\n" for name, found in sorted(versions.items()))
    return EnvSource(kind="pip", first=LISTS[0], files={LISTS[0]: text}, wheelhouse=folder, contents=contents)


def conda_version(python: str) -> tuple[str, str] | None:
    """The program and the version of Python when `python` asks for conda, as `conda` or `/opt/conda/bin/mamba=3.11`;
    None for an interpreter."""
    program, _, version = python.partition("=")
    return (program, version) if PurePosixPath(program).name in CONDAS else None
