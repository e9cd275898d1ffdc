"""Is a model folder whole? Asked before anything of it is loaded."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from llmctl_engine.errors import EngineError

SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
POINTER = b"version https://git-lfs"
COPY = "copy the whole folder again"
LOADING_ERRORS = (OSError, EOFError, ValueError, TypeError, RuntimeError, LookupError, AttributeError)
"""What transformers raises for files that it can make nothing of."""


def assert_whole(folder: Path) -> None:
    """Raises EngineError when `folder` has no readable config.json, lacks a file of weights, or holds one that ends
    early. Reads headers only."""
    if not (folder / "config.json").is_file():
        raise EngineError(f"{folder} is no model folder: it has no config.json", hint="see model.path")
    read_json(folder / "config.json")
    for path in _weights(folder):
        if not path.is_file():
            raise EngineError(f"{folder} lacks {path.name}, which its index names", hint=COPY)
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise EngineError(f"{path} is a pointer of Git LFS, not the weights", hint=f"git -C {folder} lfs pull")
        whole = _safetensors_whole(path) if path.suffix == ".safetensors" else _bin_whole(path)
        if not whole:
            raise EngineError(f"{path} is cut off or broken, at {path.stat().st_size} bytes", hint=COPY)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises EngineError when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} cannot be read: {error}", hint=COPY) from error
    if not isinstance(values, dict):
        raise EngineError(f"{path} holds no JSON object", hint=COPY)
    return values


def first_line(error: BaseException) -> str:
    """The first line of an error's text that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _weights(folder: Path) -> list[Path]:
    """The files that transformers will read, by its order of preference."""
    for single, indexed in zip(SINGLE, INDEXED, strict=True):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / indexed).is_file():
            named = read_json(folder / indexed).get("weight_map")
            if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
                raise EngineError(f"{folder / indexed} names no files of weights", hint=COPY)
            return [folder / name for name in sorted(set(named.values()))]
    raise EngineError(f"{folder} holds no weights: none of {', '.join((*SINGLE, *INDEXED))}", hint=COPY)


def _safetensors_whole(path: Path) -> bool:
    """The file is as long as its header, whose length stands in the first 8 bytes, says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return False
    return size == 8 + length + max(ends, default=0)


def _bin_whole(path: Path) -> bool:
    """torch writes zip files, whose table of contents comes last; its format of before 2020 has no such mark."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return zipfile.is_zipfile(path) if zipped else path.stat().st_size > 0
