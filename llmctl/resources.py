"""Where shipped data and the per-user state lie."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(kind: str) -> Path:
    """The folder of shipped `templates` or `recipes`: inside the package in a wheel, beside it in a checkout."""
    packaged = _PACKAGE / kind
    return packaged if packaged.is_dir() else _PACKAGE.parent / kind


def engine_dir() -> Path:
    """The folder that holds the package `llmctl_engine` (what PYTHONPATH needs on a node)."""
    checkout = _PACKAGE.parent / "engine"
    return checkout if (checkout / "llmctl_engine").is_dir() else _PACKAGE.parent


def onnode_file(name: str) -> Path:
    """A single-file program that is sent to nodes, such as `probe.py`."""
    return _PACKAGE / "onnode" / name


def home_dir() -> Path:
    """The launcher's own state: keys, known hosts, inventory, index of runs. `LLMCTL_HOME` moves it."""
    return Path(os.environ.get("LLMCTL_HOME") or Path.home() / ".config" / "llmctl")


def cache_dir() -> Path:
    """What can be made again, such as prepared data: `LLMCTL_CACHE`, else below `XDG_CACHE_HOME` or `~/.cache`."""
    given = os.environ.get("LLMCTL_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmctl"


@cache
def onnode_text(name: str) -> str:
    """The text of such a program."""
    return onnode_file(name).read_text(encoding="utf-8")
