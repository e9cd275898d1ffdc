"""What setup-nodes learned about each node: `$LLMCTL_HOME/nodes.yaml`, private, without secrets."""

from __future__ import annotations

import difflib
import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmctl.errors import UsageError
from llmctl.quoting import sh_quote
from llmctl.resources import home_dir

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One known node. `added` records what setup-nodes put on it, so that exactly that is removed. An empty address or
    user and port 0 say nothing: then ~/.ssh/config and the defaults do."""

    address: str
    user: str
    port: int = 22
    key: str | None = None
    """A private key on the launcher, besides its own."""
    jump: str | None = None
    """`[user@]name[:port]` of the machine on the way."""
    python: str | None = None
    """The interpreter on the node, where it is not python3."""
    workdir: str | None = None
    added: Mapping[str, Any] = field(default_factory=dict)


def inventory_path() -> Path:
    """Where the inventory lies."""
    return home_dir() / "nodes.yaml"


def load_inventory(path: Path | None = None) -> dict[str, Entry]:
    """All known nodes by name; empty when there is no file. Raises UsageError for a file that is not ours."""
    from llmctl.recipe.yaml_file import read_mapping

    path = path or inventory_path()
    if not path.exists():
        return {}
    hint = f"correct it, or move it away and set the nodes up again: mv {sh_quote(str(path))} {sh_quote(f'{path}.bad')}"
    try:
        document = read_mapping(path, what="an inventory", hint=hint)
        nodes = document.get("nodes")
        if nodes is None or not hasattr(nodes, "lc"):
            raise UsageError("nodes: is missing, or no block of keys", where=f"{path}:1")
        return {str(name): _entry(path, nodes, name) for name in nodes}
    except UsageError as error:
        why = f"{error.what}{f': {error.why}' if error.why else ''}"
        raise UsageError("the inventory cannot be read", where=error.where, why=why, hint=hint) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("the inventory cannot be read", where=str(path), why=why) from None


def _entry(path: Path, nodes: CommentedMap, name: Any) -> Entry:
    """One node. Raises UsageError with the line of what is wrong."""
    values = nodes[name]
    where = f"{path}:{nodes.lc.key(name)[0] + 1}"
    if not hasattr(values, "lc"):
        raise UsageError(f"nodes.{name} must be a block of keys", where=where)
    known = {each.name: each for each in fields(Entry)}
    for key, value in values.items():
        line = f"{path}:{values.lc.key(key)[0] + 1}"
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            meant = f" (is {near[0]} meant?)" if near else f", known are {', '.join(known)}"
            raise UsageError(f"nodes.{name}.{key} is an unknown key{meant}", where=line)
        if not isinstance(value, {"port": int, "added": dict}.get(key, str)):
            raise UsageError(f"nodes.{name}.{key} cannot be {value!r}", where=line)
    missing = [key for key in ("address", "user") if key not in values]
    if missing:
        raise UsageError(f"nodes.{name} has no {' and no '.join(missing)}", where=where)
    return Entry(**_plain_values(values))


def _plain_values(value: Any) -> Any:
    """Without what the reader of the file adds."""
    if isinstance(value, dict):
        return {str(key): _plain_values(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain_values(each) for each in value]
    return str(value) if isinstance(value, str) else value


def save_inventory(entries: Mapping[str, Entry], path: Path | None = None) -> None:
    """Write the inventory whole: aside, then renamed; mode 0600."""
    from ruamel.yaml import YAML

    text = io.StringIO()
    plain = {name: _plain(entries[name]) for name in sorted(entries)}
    YAML(typ="safe", pure=True).dump({"nodes": plain}, text)
    write_private(path or inventory_path(), text.getvalue())


def _plain(entry: Entry) -> dict[str, Any]:
    return {key: value for key, value in asdict(entry).items() if value is not None}


def write_private(path: Path, text: str) -> None:
    """Write a file of the launcher's home: aside, synced, renamed; mode 0600 in a folder of mode 0700."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
