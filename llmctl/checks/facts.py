"""What was read on the nodes (Fact) and what is judged from it (Finding), kept apart so that saved facts can be
judged again."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """ERROR blocks a run (exit 3); WARNING and INFO are told."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One thing read on one node. `value` is JSON-like; None with `error` set means unknown, which equals nothing."""

    name: str
    node: str
    value: Any = None
    source: str = ""
    """The file or command it came from."""
    scope: str = "host"
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A judgement over the facts of all nodes."""

    code: str
    """Stable, for example `driver.differs`; `--allow-drift` names it."""
    severity: Severity
    title: str
    """One line: what is wrong, with the odd nodes and both values."""
    nodes: tuple[str, ...] = ()
    """The nodes that are odd; empty when nobody can be called odd."""
    values: dict[str, Any] = field(default_factory=dict)
    """Value by node."""
    remedy: str = ""
