"""What one kind of device brings to the check, and what all kinds have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmctl.checks.facts import Severity
from llmctl.checks.rows import Complaint, Row, Rule, Wanted


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """One kind of device. Everything about it is in one file; `VENDORS` lists it."""

    name: str
    """As in `--device`."""
    title: str
    present: str
    """A shell condition that holds on a node with such devices."""
    rows: tuple[Row, ...] = ()
    rules: tuple[Rule, ...] = ()
    variables: tuple[str, ...] = ()
    """Prefixes of the environment variables that change what its libraries do."""


def device_rows(run: str, parse: Callable[[str], list[dict[str, Any]]], source: str) -> tuple[Row, ...]:
    """Number, kind, health and use of the devices. `parse` gives {model, health, busy, memory_mb} a device."""
    return (
        Row(
            name="accelerator.models", run=run, parse=lambda out: [_kind(device) for device in parse(out)],
            source=f"{source}: name and memory", why="ranks without a device, or ranks that run out of memory",
            remedy="nodes of one run need the same number and kind of devices",
        ),
        Row(
            name="accelerator.devices", run=run, parse=parse, mode="ok", judge=healthy, needed=True,
            source=f"{source}: health, processes or memory in use",
            why="a rank fails at its first step, or two jobs share a device",
            remedy="see the vendor's tool on that node; lower cluster.devices_per_node, or end what uses the devices",
        ),
    )  # fmt: skip


def _kind(device: dict[str, Any]) -> str:
    memory = device.get("memory_mb")
    # In GiB: releases of a driver tell other numbers of MiB for one card.
    return f"{device['model']} {round(memory / 1024)} GiB" if memory else str(device["model"])


def healthy(value: Any, node: str, wanted: Wanted) -> Complaint:
    """Too few devices, or an ill one: error; one in use: warning."""
    slots = wanted.slots.get(node)
    if slots is not None and len(value) < slots:
        return Severity.ERROR, f"has {len(value)} of the {slots} devices that the run wants"
    ill = [f"{number} ({device['health']})" for number, device in enumerate(value) if device["health"] != "OK"]
    if ill:
        return Severity.ERROR, f"devices are not well: {', '.join(ill)}"
    busy = [str(number) for number, device in enumerate(value) if device["busy"]]
    return (Severity.WARNING, f"devices {', '.join(busy)} are in use") if busy else None


def counts_none(what: str) -> Callable[[Any, str, Wanted], Complaint]:
    """A judge for {name: count}: a warning where any count is above 0."""

    def judge(value: Any, _node: str, _wanted: Wanted) -> Complaint:
        found = [f"{name}: {count}" for name, count in value.items() if count]
        return (Severity.WARNING, f"{what}: {', '.join(found)}") if found else None

    return judge
