"""What each node of a run told last: `runs/<id>/seen.json`, shown when a node does not answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmctl.run.folder import RunFolder, write_json
from llmctl.run.states import State


@dataclass(frozen=True, kw_only=True)
class NodeSeen:
    """One node of a run, as it answered last; what is None is not known."""

    node: str
    answered: float | None = None
    """Unix seconds here of that answer; None: it never did."""
    state: State | None = None
    """None: no supervisor was started there."""
    exit_code: int | None = None
    heartbeat: float | None = None
    """Unix seconds there."""
    heard: float | None = None
    """Seconds between the supervisor's heartbeat and the answer."""
    step: int | None = None
    loss: float | None = None
    memory_mb: int | None = None
    """Resident memory of the run's processes."""
    devices: tuple[Mapping[str, Any], ...] = ()
    """`use_percent`, `memory_mb` and `total_mb` of each device."""


def read_seen(folder: RunFolder) -> dict[str, NodeSeen]:
    """What is remembered of a run's nodes; what cannot be read counts as nothing."""
    try:
        told = json.loads(_path(folder).read_text(encoding="utf-8"))
        return {
            name: NodeSeen(
                **each | {"state": State(each["state"]) if each["state"] else None, "devices": tuple(each["devices"])}
            )
            for name, each in told.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def remember(folder: RunFolder, seen: Mapping[str, NodeSeen]) -> None:
    """Keep what the nodes told; of nodes that are not among them the older answer stays."""
    write_json(_path(folder), {name: asdict(each) for name, each in {**read_seen(folder), **seen}.items()})


def _path(folder: RunFolder) -> Path:
    return folder.root / "seen.json"
