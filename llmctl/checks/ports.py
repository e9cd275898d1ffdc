"""Which ports the ranks of a run will use between nodes, and which of them a firewall holds shut. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmctl.checks.addresses import Values, value_of
from llmctl.checks.facts import Finding, Severity
from llmctl.checks.rows import Complaint, Wanted

RENDEZVOUS = range(29500, 29511)
"""Where torchrun and DeepSpeed meet, and the next ten."""
HCCL_BASE = 60000
HCCL_COUNT = 16
"""HCCL binds so many ports on a node from $HCCL_IF_BASE_PORT on."""
SAMPLES = 3
"""Of the node's ephemeral ports, on which gloo and NCCL listen."""
SHOWN = 4

READ = "cat /proc/sys/net/ipv4/ip_local_port_range; cat /proc/sys/net/ipv4/ip_local_reserved_ports 2>/dev/null; true"


def ephemeral(out: str) -> dict[str, Any]:
    """`READ` -> {low, high, reserved: [[from, to]]}."""
    lines = out.splitlines()
    match = re.fullmatch(r"\s*(\d+)\s+(\d+)\s*", lines[0] if lines else "")
    if not match or not 0 < int(match[1]) <= int(match[2]) < 65536:
        raise ValueError("not what ip_local_port_range holds")
    reserved = []
    for part in (lines[1] if len(lines) > 1 else "").strip().split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if part and not ends:
            raise ValueError("not what ip_local_reserved_ports holds")
        if ends:
            reserved.append([int(ends[1]), int(ends[2] or ends[1])])
    return {"low": int(match[1]), "high": int(match[2]), "reserved": reserved}


def hccl_ports(environment: Mapping[str, Any]) -> range:
    """The ports that HCCL binds on a node with this environment."""
    told = str(environment.get("HCCL_IF_BASE_PORT", ""))
    base = int(told) if told.isdecimal() and 1024 <= int(told) <= 65536 - HCCL_COUNT else HCCL_BASE
    return range(base, base + HCCL_COUNT)


def judge_reserved(value: Any, _node: str, wanted: Wanted) -> Complaint:
    """A warning where another program may be given a port of HCCL for an outgoing connection."""
    ports = hccl_ports(wanted.facts.get("environment.effective") or wanted.variables)
    free = [
        port
        for port in ports
        if value["low"] <= port <= value["high"] and not any(low <= port <= high for low, high in value["reserved"])
    ]
    if not free:
        return None
    told = f"the ports {fold_ports(free)} of HCCL may be given to outgoing connections ({value['low']}-{value['high']})"
    return Severity.WARNING, told


def tried_ports(values: Values, node: str, below: Callable[[int], int]) -> list[int]:
    """What its neighbour tries to reach on a node. `below(n)` gives a random number from 0 to n - 1. No port of a
    rendezvous is among them: nodes may lie on one machine."""
    ports = set(RENDEZVOUS)
    told = value_of(values, "network.port_range", node)
    if told:
        ports |= {told["low"] + below(told["high"] - told["low"] + 1) for _ in range(SAMPLES)}
    if value_of(values, "hccl.reserved", node):
        ports |= set(hccl_ports(value_of(values, "environment.effective", node) or {}))
    return sorted(ports - set(values.get("network.port", {}).values()))


def judge_ports(values: Values, names: Sequence[str]) -> list[Finding]:
    """`network.ports` by node: peer -> {tried: ports that were open there, failed: {port: error}}. One finding for the
    pairs that have the same ports shut."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for node in names:
        for peer, told in (value_of(values, "network.ports", node) or {}).items():
            if told["failed"]:
                ports = _shut(told, value_of(values, "network.port_range", peer))
                errors = ", ".join(dict.fromkeys(told["failed"].values()))
                groups.setdefault((ports, errors), []).append((node, peer))
    found = []
    for (ports, errors), pairs in groups.items():
        said = ", ".join(f"{node} to {peer}" for node, peer in pairs[:SHOWN])
        said += f" and {len(pairs) - SHOWN} more pairs" if len(pairs) > SHOWN else ""
        found.append(
            Finding(
                code="network.firewall.wrong", severity=Severity.WARNING,
                nodes=tuple(dict.fromkeys(peer for _, peer in pairs)),
                title=f"ports cannot be reached from {said}: {ports} ({errors})",
                values={node: value_of(values, "network.ports", node) for node, _ in pairs},
                remedy="open these TCP ports in the firewall of the node that is called: "
                "firewall-cmd --add-port=LOW-HIGH/tcp, or ufw allow from ADDRESS",
            )
        )  # fmt: skip
    return found


def fold_ports(ports: Sequence[int]) -> str:
    """The ports with their ranges.

    >>> fold_ports([60001, 60000, 29500, 60002])
    '29500,60000-60002'
    """
    runs: list[list[int]] = []
    for port in sorted(set(ports)):
        if runs and port == runs[-1][1] + 1:
            runs[-1][1] = port
        else:
            runs.append([port, port])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _shut(told: Mapping[str, Any], between: Mapping[str, Any] | None) -> str:
    """The failed ports in words; the ephemeral range by its name where no sample of it got through."""
    failed = {int(port) for port in told["failed"]}
    named = {*RENDEZVOUS, *hccl_ports({})}
    low, high = (between["low"], between["high"]) if between else (1, 0)
    samples = {port for port in told["tried"] if low <= port <= high and port not in named}
    if not samples or not samples <= failed:
        return fold_ports(list(failed))
    rest = fold_ports(list(failed - samples))
    return f"{rest}{' and ' * bool(rest)}all {len(samples)} that were tried of the ephemeral ports {low}-{high}"
