"""Names of datasets to their files: `dataset_info.json` of LLaMA-Factory, old and new. Standard library only."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

SUFFIXES = (".json", ".jsonl", ".txt", ".csv", ".parquet")
INFO = "dataset_info.json"
REMEDY = "mend it, or choose other data; docs/data.md tells what can be read"
"""For datasets that cannot be read."""
FORMATTINGS = ("alpaca", "sharegpt", "openai")
COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "history",
    "messages": "conversations",
    "system": "system",
    "tools": "tools",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "",
}
"""What each column is called where `columns` gives no other name; empty names none."""
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
"""ShareGPT's words; `tags` gives others."""
OPENAI_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function",
    "system_tag": "system",
}
_HUBS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_KEYS = ("file_name", "file_sha1", "formatting", "ranking", "subset", "split", "num_samples", "columns", "tags", *_HUBS)
_UNREAD_KEYS = ("folder",)
_UNREAD_COLUMNS = ("images", "videos", "audios")
"""What LLaMA-Factory reads and the engine does not; it may stand there."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One dataset: its files, or its name on the Hugging Face hub, and how its rows are written."""

    name: str
    files: tuple[Path, ...]
    hub: str | None = None
    subset: str | None = None
    split: str = "train"
    formatting: str = "alpaca"
    ranking: bool = False
    """Rows hold a better and a worse answer."""
    limit: int | None = None
    """At most so many rows."""
    columns: Mapping[str, str]
    tags: Mapping[str, str]


def read_info(folder: Path) -> dict[str, Any]:
    """The content of `dataset_info.json`; empty without one. Raises ValueError for one that maps no names."""
    file = folder / INFO
    if not file.is_file():
        return {}
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON: {error}") from None
    if not isinstance(info, dict):
        raise ValueError(f"{file}: must map dataset names to their files")
    return info


def sources(folder: Path, names: tuple[str, ...]) -> list[Source]:
    """The named datasets: local files first, those of `dataset_info.json`, else NAME.json and the like; then the hub.

    Raises ValueError for a dataset that is not there, whose `file_sha1` is another, or of an unknown form."""
    info = read_info(folder)
    return [_source(folder, name, info.get(name, {}), name in info) for name in names]


def _source(folder: Path, name: str, entry: Any, listed: bool) -> Source:
    where = f"dataset {name}: {folder / INFO}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must give keys and values for it")
    _check_keys(entry, (*_KEYS, *_UNREAD_KEYS), where)
    formatting = entry.get("formatting", "alpaca")
    if formatting not in FORMATTINGS:
        raise ValueError(f"{where} gives formatting {formatting!r}; there are {', '.join(FORMATTINGS)}")
    files = local_files(folder, name, entry)
    hub = entry.get("hf_hub_url") if not files else None
    if not files and hub is None:
        others = [key for key in _HUBS if key in entry]
        if others:
            raise ValueError(f"{where} gives only {', '.join(others)}; put a local file {name}.json beside it")
        if listed and "file_name" not in entry:
            raise ValueError(f"{where} gives no file_name")
        raise ValueError(f"no dataset {name} in {folder}" + (f": {entry['file_name']} is not there" if listed else ""))
    if files:
        _check_sha1(files, entry.get("file_sha1"), name)
    limit = entry.get("num_samples")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError(f"{where} gives num_samples {limit!r}; it must be a whole number above 0")
    return Source(
        name=name,
        files=files,
        hub=hub,
        subset=entry.get("subset"),
        split=entry.get("split") or "train",
        formatting=formatting,
        ranking=bool(entry.get("ranking")),
        limit=limit,
        columns=_names(
            COLUMNS | ({"messages": "messages"} if formatting == "openai" else {}),
            entry,
            "columns",
            where,
            unread=_UNREAD_COLUMNS,
        ),
        tags=_names(OPENAI_TAGS if formatting == "openai" else TAGS, entry, "tags", where),
    )


def _check_keys(given: Mapping[str, Any], known: Iterable[str], where: str, inside: str = "") -> None:
    known = tuple(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {inside}{near[0]}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{where} has the unknown key {inside}{key}; {hint}")


def _names(
    defaults: Mapping[str, str], entry: Mapping[str, Any], key: str, where: str, unread: tuple[str, ...] = ()
) -> dict[str, str]:
    given = entry.get(key) or {}
    if not isinstance(given, dict) or not all(value is None or isinstance(value, str) for value in given.values()):
        raise ValueError(f"{where} must give names under {key}")
    _check_keys(given, (*defaults, *unread), where, f"{key}.")
    return {**defaults, **{name: value or "" for name, value in given.items() if name in defaults}}


def local_files(folder: Path, name: str, entry: Mapping[str, Any]) -> tuple[Path, ...]:
    """The files of a dataset that lie in `folder`: those of its entry, else the first of NAME.json and the like.

    Raises ValueError for a path that is none below `folder`."""
    file_name = entry.get("file_name")
    if file_name is not None:
        path = folder / _below(file_name, f"dataset {name}: {folder / INFO} gives file_name {file_name!r}")
        if path.is_dir():
            return tuple(sorted(p for p in path.iterdir() if p.is_file() and p.suffix in SUFFIXES))
        return (path,) if path.is_file() else ()
    below = _below(name, f"dataset {name}")
    candidates = (folder / f"{below}{suffix}" for suffix in SUFFIXES)
    return tuple(path for path in candidates if path.is_file())[:1]


def _below(given: Any, what: str) -> PurePosixPath:
    if not isinstance(given, str):
        raise ValueError(f"{what}; it must be one path")
    path = PurePosixPath(given)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{what}: outside of its folder; give a path below the folder")
    return path


def _check_sha1(files: tuple[Path, ...], expected: Any, name: str) -> None:
    if not isinstance(expected, str):
        return
    if len(files) != 1:
        raise ValueError(f"dataset {name}: file_sha1 is of one file, and there are {len(files)}")
    with files[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha1").hexdigest()
    if found != expected.lower():
        raise ValueError(
            f"dataset {name}: {files[0]} has the sha1 {found}, and {INFO} says {expected}; "
            "get that version, or take file_sha1 out"
        )
