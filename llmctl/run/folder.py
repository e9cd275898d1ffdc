"""Every path of one run, in one place; the same layout on launcher and nodes."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmctl.errors import UsageError


@dataclass(frozen=True)
class RunFolder:
    """`runs/<run_id>/`."""

    root: Path

    @property
    def run_id(self) -> str:
        return self.root.name

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def steps(self) -> Path:
        """The engine's records, one a line."""
        return self.output / "steps.jsonl"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def facts(self, node: str) -> Path:
        """What was read on a node before the start."""
        return self.root / "env" / f"{node}.json"

    def logs(self, node: str) -> Path:
        """`launcher.log` and `rank<N>.log` of one node."""
        return self.root / "logs" / node

    def read_manifest(self) -> dict[str, Any]:
        """The run's record. Raises UsageError when the folder holds none."""
        try:
            manifest: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError("no run lies here", where=str(self.root), hint="llmctl ps") from None
        except (OSError, ValueError) as error:
            raise UsageError("the manifest cannot be read", where=str(self.manifest), why=str(error)) from None
        return manifest

    def update_manifest(self, **values: Any) -> None:
        """Set keys of the run's record; made if it is not there. Several processes may do so at once."""
        self.change_manifest(lambda _old: values)

    def change_manifest(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """As `update_manifest` with the keys that `change` makes of the record as it is, which nobody else changes
        meanwhile; the new record."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".manifest.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            old = self.read_manifest() if self.manifest.exists() else {}
            new = old | change(old)
            write_json(self.manifest, new)
        return new


def write_json(path: Path, value: Any) -> None:
    """Write aside, then rename, so that a reader never sees half a file; nothing is left where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        aside = Path(file.name)
        try:
            json.dump(value, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
