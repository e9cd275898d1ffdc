"""The nodes of a run as rows of a table, the same for `status` and the dashboard. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmctl.run.seen import NodeSeen
    from llmctl.workflows.status import RunStatus

HEADINGS = ("node", "state", "step", "loss", "memory", "devices", "exit code", "heard")
UNKNOWN = "-"


def age(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def row(seen: NodeSeen, *, answers: bool, now: float) -> tuple[str, ...]:
    """One node's cells below HEADINGS; of one that does not answer, what it told last and how long ago that was."""
    state = "no supervisor" if seen.state is None else str(seen.state)
    if not answers:
        state = "no answer" if seen.answered is None else f"no answer ({state})"
    if seen.answered is None:
        return (seen.node, state, *[UNKNOWN] * 6)
    ago = seen.heard
    if not answers:
        ago = (seen.heard or 0.0) + now - seen.answered
    return (
        seen.node,
        state,
        UNKNOWN if seen.step is None else str(seen.step),
        UNKNOWN if seen.loss is None else f"{seen.loss:.4f}",
        UNKNOWN if seen.memory_mb is None else size(seen.memory_mb),
        devices(seen.devices),
        UNKNOWN if seen.exit_code is None else str(seen.exit_code),
        UNKNOWN if ago is None else age(ago),
    )


def rows(status: RunStatus, now: float) -> list[tuple[str, ...]]:
    """The rows of all nodes, in the order of the ranks."""
    return [row(seen, answers=name not in status.errors, now=now) for name, seen in status.nodes.items()]


def devices(told: Sequence[Mapping[str, Any]]) -> str:
    """Mean use and the memory of all devices of a node: `97 % 488/512 GiB`."""
    uses = [each["use_percent"] for each in told if each.get("use_percent") is not None]
    parts = [f"{sum(uses) / len(uses):.0f} %"] if uses else []
    total = sum(each.get("total_mb") or 0 for each in told)
    if total:
        used = sum(each.get("memory_mb") or 0 for each in told)
        parts.append(f"{used / 1024:.0f}/{total / 1024:.0f} GiB")
    return " ".join(parts) or UNKNOWN


def size(mb: int) -> str:
    """`812 MiB`, `12.3 GiB`, `117 GiB`."""
    gib = mb / 1024
    return f"{mb} MiB" if gib < 1 else f"{gib:.1f} GiB" if gib < 100 else f"{gib:.0f} GiB"
