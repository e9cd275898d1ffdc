"""What setup-nodes learned about each node: `$LLMCTL_HOME/nodes.yaml`, private, without secrets."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmctl.errors import UsageError
from llmctl.resources import home_dir


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
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = path or inventory_path()
    if not path.exists():
        return {}
    hint = f"repair it, or move it away and run: llmctl setup-nodes NODES (file {path})"
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) or {}
        return {str(name): Entry(**values) for name, values in raw["nodes"].items()}
    except (YAMLError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise UsageError("the inventory cannot be read", where=str(path), why=str(error), hint=hint) from error


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
