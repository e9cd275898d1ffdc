"""Between nodes: names, interfaces, packets, ports, clocks, shared folders, logins of the first node. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from llmctl.checks.addresses import Values, choose_addresses, choose_interfaces, free_port, own_addresses, value_of
from llmctl.checks.facts import Finding, Severity
from llmctl.checks.folding import fold
from llmctl.checks.ports import judge_ports
from llmctl.recipe.hosts import Node

LOCAL_TYPES = frozenset(
    ("ext2/ext3", "xfs", "btrfs", "tmpfs", "ramfs", "overlayfs", "zfs", "f2fs", "jfs", "reiserfs", "squashfs")
)
"""File systems, as `stat -f` names them, that no two machines share."""


def judge_network(
    values: Values, nodes: Sequence[Node], *, backend: str | None, interface: str | None = None
) -> list[Finding]:
    """Findings about pairs of nodes. `backend` None: only nodes were named; `interface`: the one that the recipe
    names."""
    names = [node.name for node in nodes]
    found = _twice(values, names) + _clocks(values, names) + _port(values, names)
    if len(nodes) > 1:
        found += _named_interface(values, names, interface) if interface else _interfaces(values, nodes)
        found += _own_names(values, names) + _resolution(values, names, backend) + _subnets(values, nodes)
        found += (
            _mtu(values, nodes)
            + _connections(values, names)
            + judge_ports(values, names)
            + _logins(values, names, backend)
        )
        found += _shared(values, names)
    return found


def _twice(values: Values, names: Sequence[str]) -> list[Finding]:
    found = []
    for fact, code, what, severity in (
        ("network.hostname", "network.hostname.twice", "host name", Severity.ERROR),
        ("os.boot", "os.boot.twice", "boot id", Severity.INFO),
    ):
        told = {name: value for name in names if (value := value_of(values, fact, name))}
        for value, count in Counter(told.values()).items():
            if count > 1:
                same = [name for name in names if told.get(name) == value]
                found.append(
                    Finding(
                        code=code, severity=severity, nodes=tuple(same), values=told,
                        title=f"{fold(same)} have the same {what} {value}",
                        remedy="are they one machine? give each its own name: hostnamectl set-hostname NAME"
                        if severity is Severity.ERROR else "",
                    )
                )  # fmt: skip
    return found


def _own_names(values: Values, names: Sequence[str]) -> list[Finding]:
    wrong = {
        name: told[0]
        for name in names
        if (told := value_of(values, "network.own_name", name)) and told[0].startswith("127.")
    }
    if not wrong:
        return []
    hosts: dict[str, list[str]] = {}
    for name, ip in wrong.items():
        hosts.setdefault(ip, []).append(value_of(values, "network.hostname", name) or name)
    said = ", ".join(f"{fold(here)} is {ip}" for ip, here in hosts.items())
    return [
        Finding(
            code="network.own_name.wrong",
            severity=Severity.ERROR,
            title=f"the host name is a loopback address on {fold(list(wrong))}: {said}",
            nodes=tuple(wrong),
            values=dict(wrong),
            remedy="take the host name out of the 127.0.1.1 line of /etc/hosts, and let llmctl setup-nodes name it",
        )
    ]


def _resolution(values: Values, names: Sequence[str], backend: str | None) -> list[Finding]:
    own = {name: own_addresses(values, name) for name in names}
    wrong: dict[str, str] = {}
    remedies: dict[str, None] = {}
    for node in names:
        resolves: Mapping[str, list[str]] | None = value_of(values, "network.resolves", node)
        if resolves is None:
            continue
        for peer, got in resolves.items():
            if not got:
                said, remedy = f"does not know {peer}", "llmctl setup-nodes NODES writes the names into /etc/hosts"
            elif got[0].startswith("127."):
                said = f"takes {peer} for {got[0]}, a loopback address"
                remedy = f"take {peer} out of the line of {got[0]} in /etc/hosts on {node}"
            elif own.get(peer) and got[0] not in own[peer]:
                said = f"takes {peer} for {got[0]}, which {peer} does not have"
                remedy = f"correct what names {peer} there: getent -s files hosts {peer} tells whether it is /etc/hosts"
            else:
                continue
            if wrong.setdefault(node, said) is said:
                remedies.setdefault(remedy)
    if not wrong:
        return []
    return [
        Finding(
            code="network.names.wrong",
            severity=Severity.ERROR if backend == "pdsh" else Severity.WARNING,
            title=_grouped(wrong),
            nodes=tuple(wrong),
            values=dict(wrong),
            remedy="; ".join([*remedies][:4]),
        )
    ]


def _interfaces(values: Values, nodes: Sequence[Node]) -> list[Finding]:
    missing = [name for name, interface in choose_interfaces(values, nodes).items() if interface is None]
    told = [name for name in missing if value_of(values, "network.addresses", name) is not None]
    if not told:
        return []
    return [
        Finding(
            code="network.interface.wrong",
            severity=Severity.ERROR,
            title=f"no interface of {fold(told)} carries an address that the other nodes can use",
            nodes=tuple(told),
            remedy="bring the interface up, or name the node with its address: node1=10.0.0.1",
        )
    ]


def _named_interface(values: Values, names: Sequence[str], interface: str) -> list[Finding]:
    own = {name: list(own_addresses(values, name).values()) for name in names}
    without = [name for name in names if own[name] and interface not in own[name]]
    if not without:
        return []
    return [
        Finding(
            code="network.interface.wrong",
            severity=Severity.ERROR,
            title=f"{fold(without)} has no interface {interface} that is up and has an address",
            nodes=tuple(without),
            values=dict(own),
            remedy="leave cluster.interface out, then each node's own is chosen, or bring that interface up",
        )
    ]


def _chosen(values: Values, nodes: Sequence[Node]) -> dict[str, Mapping[str, Any]]:
    """The entry of `network.addresses` that each node is reached by."""
    chosen = choose_addresses(values, nodes)
    return {
        name: entry
        for name, address in chosen.items()
        for entry in value_of(values, "network.addresses", name) or []
        if entry["address"] == address
    }


def _subnets(values: Values, nodes: Sequence[Node]) -> list[Finding]:
    networks = {
        name: str(ip_network(f"{entry['address']}/{entry['prefix']}", strict=False))
        for name, entry in _chosen(values, nodes).items()
        if entry["prefix"] < 31  # an address of its own, as clouds give, says nothing about the network
    }
    if len(set(networks.values())) < 2:
        return []
    return [
        Finding(
            code="network.subnet.differs",
            severity=Severity.WARNING,
            title="the nodes are in different networks: " + _sides(networks),
            values=dict(networks),
            remedy="collectives want one network: name the nodes with their addresses in it, node1=10.0.0.1",
        )
    ]


def _mtu(values: Values, nodes: Sequence[Node]) -> list[Finding]:
    sizes = {name: str(entry["mtu"]) for name, entry in _chosen(values, nodes).items() if entry.get("mtu")}
    lost = {name: told for name, told in values.get("network.path_mtu", {}).items() if told}
    found = []
    if len(set(sizes.values())) > 1:
        found.append(
            Finding(
                code="network.mtu.differs", severity=Severity.WARNING, values=dict(sizes),
                title="the interfaces carry packets of different sizes: " + _sides(sizes),
                remedy="set one MTU on all nodes: ip link set dev NAME mtu N",
            )
        )  # fmt: skip
    if lost:
        found.append(
            Finding(
                code="network.mtu.wrong", severity=Severity.WARNING, nodes=tuple(lost), values=lost,
                title=f"packets of the interface's own size do not arrive: {_grouped(lost)}",
                remedy="large messages would hang: set the MTU that the switches carry on all nodes",
            )
        )  # fmt: skip
    return found


def _port(values: Values, names: Sequence[str]) -> list[Finding]:
    ports = values.get("network.port", {})
    if not names or ports.get(names[0], 0) is not None:
        return []
    return [
        Finding(
            code="network.port.taken",
            severity=Severity.ERROR,
            title=f"{names[0]}: the port of the rendezvous is in use",
            nodes=(names[0],),
            remedy="leave cluster.master_port out, then a free one is chosen, or end what listens: ss -ltnp",
        )
    ]


def _connections(values: Values, names: Sequence[str]) -> list[Finding]:
    """`network.connect` by node: peer -> the error of connecting to it, None when that went well."""
    told: Mapping[str, Mapping[str, str | None]] = values.get("network.connect", {})
    first, port = names[0], free_port(values, names[0])
    to_first = {node: error for node, peers in told.items() if (error := peers.get(first))}
    others = {
        f"{node} to {peer}": error
        for node, peers in told.items()
        for peer, error in peers.items()
        if peer != first and error
    }
    found = []
    if to_first:
        found.append(
            Finding(
                code="network.rendezvous.wrong", severity=Severity.ERROR, nodes=tuple(to_first), values=dict(to_first),
                title=f"port {port} of {first} cannot be reached: {_grouped(to_first)}",
                remedy="open the port between the nodes, or set cluster.master_port to one that is open",
            )
        )  # fmt: skip
    if others:
        shown = "; ".join(f"{pair}: {error}" for pair, error in list(others.items())[:4])
        found.append(
            Finding(
                code="network.firewall.wrong", severity=Severity.WARNING, values=dict(others),
                title=f"ports between nodes cannot be reached: {shown}",
                remedy="collectives connect every node with every other at ports above 1024: open them",
            )
        )  # fmt: skip
    return found


def _logins(values: Values, names: Sequence[str], backend: str | None) -> list[Finding]:
    told: Mapping[str, str | None] = value_of(values, "ssh.from_first", names[0]) or {}
    failed = {name: error for name, error in told.items() if error}
    if not failed:
        return []
    return [
        Finding(
            code="ssh.from_first.wrong",
            severity=Severity.ERROR if backend == "pdsh" else Severity.WARNING,
            title=f"{names[0]} cannot log in to " + _grouped(failed),
            nodes=tuple(failed),
            values=dict(failed),
            remedy=f"llmctl setup-nodes {fold(names)}",
        )
    ]


def _shared(values: Values, names: Sequence[str]) -> list[Finding]:
    same = list(shared_folders(values, names))
    if not same:
        return []
    told = {name: place for name in names if (place := value_of(values, "disk.place", name))}
    places = {name: place["mark"] if place["type"] not in LOCAL_TYPES else "local" for name, place in told.items()}
    mixed = len(same) < len(places)
    return [
        Finding(
            code="disk.shared.told",
            severity=Severity.WARNING if mixed else Severity.INFO,
            title=f"{fold(same)} write into one shared folder" + (", the other nodes do not" if mixed else ""),
            nodes=tuple(same),
            values=dict(places),
            remedy="share cluster.workdir on all nodes, or on none" if mixed else "",
        )
    ]


def shared_folders(values: Values, names: Sequence[str]) -> dict[str, str]:
    """The nodes that write into one folder with others -> what marks that folder."""
    told = {name: place for name in names if (place := value_of(values, "disk.place", name))}
    marks = {name: str(place["mark"]) for name, place in told.items() if place["type"] not in LOCAL_TYPES}
    counts = Counter(marks.values())
    return {name: mark for name, mark in marks.items() if counts[mark] > 1}


def _clocks(values: Values, names: Sequence[str]) -> list[Finding]:
    """Each fact is {offset, error} in seconds against this machine; two nodes differ for sure when more than the
    errors of both measurements lies between them."""
    told = {name: clock for name in names if (clock := value_of(values, "clock.offset", name)) is not None}
    if len(told) < 2:
        return []
    early = min(told, key=lambda name: told[name]["offset"] + told[name]["error"])
    late = max(told, key=lambda name: told[name]["offset"] - told[name]["error"])
    apart = (told[late]["offset"] - told[late]["error"]) - (told[early]["offset"] + told[early]["error"])
    if apart <= 1:
        return []
    middle = sorted(clock["offset"] for clock in told.values())[len(told) // 2]
    odd = [name for name, clock in told.items() if abs(clock["offset"] - middle) - clock["error"] > 1]
    return [
        Finding(
            code="clock.differs",
            severity=Severity.ERROR if apart > 60 else Severity.WARNING,
            title=f"the clocks of {early} and {late} are at least {apart:.1f} s apart",
            nodes=tuple(odd) if len(told) > 2 and len(odd) * 2 < len(told) else (),
            values=dict(told),
            remedy="synchronise the clocks (chrony, ntp); times in logs cannot be compared",
        )
    ]


def _grouped(said: Mapping[str, str]) -> str:
    """`node[1-3]: text; node7: other text`."""
    groups: dict[str, list[str]] = {}
    for name, text in said.items():
        groups.setdefault(text, []).append(name)
    return "; ".join(f"{fold(names)}: {text}" for text, names in groups.items())


def _sides(values: Mapping[str, str]) -> str:
    """`VALUE on NODES, VALUE on NODES`."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return ", ".join(f"{value} on {fold(names)}" for value, names in groups.items())
