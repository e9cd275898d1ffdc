"""Is a model folder whole? Asked before anything of it is loaded."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmctl_engine.errors import EngineError

SAFETENSORS = ".safetensors"
SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
POINTER = b"version https://git-lfs"
CONSTANTS = ("attn.bias", "attention.bias", "masked_bias", "inv_freq")
"""Ends of names of masks and tables that some old files hold beside their weights."""
COPY = "copy the whole folder again"


def assert_whole(folder: Path) -> None:
    """Raises EngineError when `folder` has no readable config.json, lacks a file of weights, or holds one that ends
    early. Reads headers only."""
    if not (folder / "config.json").is_file():
        raise EngineError(f"{folder} is no model folder: it has no config.json", hint="see model.path")
    read_json(folder / "config.json")
    for path in weight_files(folder):
        if not path.is_file():
            raise EngineError(f"{folder} lacks {path.name}, which its index names", hint=COPY)
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise EngineError(f"{path} is a pointer of Git LFS, not the weights", hint=f"git -C {folder} lfs pull")
        whole = _safetensors_whole(path) if path.suffix == SAFETENSORS else _bin_whole(path)
        if not whole:
            raise EngineError(f"{path} is cut off or broken, at {path.stat().st_size} bytes", hint=COPY)


def assert_known(folder: Path, model: Any, unexpected: Iterable[str]) -> None:
    """Raises EngineError for weights of layers that the model has otherwise, or of more layers like its own: it would
    be another model without them. What hangs beside the layers, a tower for pictures for instance, may be left out,
    and so may a last layer of another kind, which predicts several tokens."""
    own = [_in_layer(name) for name, _ in model.named_parameters()]
    layers = {place[:2] for place in own if place}
    kinds = {(place[0], place[2]) for place in own if place}
    others: dict[tuple[str, str], list[str]] = {}
    for name in sorted(unexpected):
        place = _in_layer(name)
        if place and not name.endswith(CONSTANTS):
            others.setdefault(place[:2], []).append(place[2])
    strange = [
        ".".join((*layer, rest))
        for layer, rests in others.items()
        if layer in layers or all((layer[0], rest) in kinds for rest in rests)
        for rest in rests
    ]
    if strange:
        told = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
        count = f"{len(strange)} {'weight' if len(strange) == 1 else 'weights'}"
        raise EngineError(
            f"{folder} holds {count} that its config.json does not account for: {told}",
            hint="config.json is of another model, or says too few layers",
        )


def _in_layer(name: str) -> tuple[str, str, str] | None:
    """The stack of layers, the number of the layer and the rest of a weight's name; None for others."""
    found = re.match(r"(.*?)\.(\d+)\.(.*)", name)
    return (found[1], found[2], found[3]) if found else None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises EngineError when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} cannot be read: {error}", hint=COPY) from error
    if not isinstance(values, dict):
        raise EngineError(f"{path} holds no JSON object", hint=COPY)
    return values


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers will read, by its order of preference. Raises EngineError for none, for a dead link,
    and for an index that names none or such as lie elsewhere."""
    for single, indexed in zip(SINGLE, INDEXED, strict=True):
        for path in (folder / single, folder / indexed):
            if path.is_symlink() and not path.exists():
                raise EngineError(f"{path} is a link to {path.readlink()}, which is not there", hint="copy with cp -L")
        if (folder / single).is_file():
            return [folder / single]
        if (folder / indexed).is_file():
            return [folder / name for name in _shards(folder / indexed)]
    raise EngineError(f"{folder} holds no weights: none of {', '.join((*SINGLE, *INDEXED))}", hint=COPY)


def _shards(index: Path) -> list[str]:
    values = read_json(index)
    named = values.get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise EngineError(f"{index} names no files of weights", hint=COPY)
    shards = sorted(set(named.values()))
    for name in shards:
        if Path(name).name != name or not name.endswith((SAFETENSORS, ".bin")):
            raise EngineError(f"{index} names {name}, which is no file of weights beside it", hint=COPY)
    if not isinstance(values.get("metadata"), dict):
        raise EngineError(f"{index} has no metadata, which transformers wants", hint='write "metadata": {} into it')
    return shards


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
