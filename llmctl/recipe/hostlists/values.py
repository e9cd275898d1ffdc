"""What a host list says, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmctl.recipe.hosts import Node


@dataclass(frozen=True, kw_only=True)
class Host:
    """One machine of a list."""

    node: Node
    max_slots: int | None = None
    """The most processes that Open MPI may start here."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Ansible's other variables; values are JSON-like."""

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(frozen=True, kw_only=True)
class HostList:
    """Machines in the order of their ranks, and their groups."""

    hosts: tuple[Host, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Group -> names of its hosts."""
    remarks: tuple[str, ...] = ()
    """What the reader took in a way that is worth telling, or left out."""

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.hosts]
