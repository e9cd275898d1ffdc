"""Every path of one run, in one place; the same layout on launcher and nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    def report(self) -> Path:
        return self.root / "report"

    @property
    def env(self) -> Path:
        """Facts, one file a node."""
        return self.root / "env"

    def logs(self, node: str) -> Path:
        """`launcher.log` and `rank<N>.log` of one node."""
        return self.root / "logs" / node
