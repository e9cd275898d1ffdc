"""Nodes as a person writes them: names, ranges, hostfiles."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a run. `name` is what every table shows; the rest overrides inventory and ssh config."""

    name: str
    address: str | None = None
    user: str | None = None
    port: int | None = None
    slots: int | None = None
    """Devices to use here; None: the recipe's `devices_per_node`."""
