"""Hostfiles: DeepSpeed's plain `node1 slots=8`, and llmctl's own, whose nodes also carry user, address and port."""

from __future__ import annotations

from llmctl.errors import UsageError
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node, parse_hostfile


class DeepSpeed:
    """What DeepSpeed itself reads: a name and its slots, nothing else."""

    carries = frozenset({"slots", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors with line and column of each mistake."""
        return _read(text, source)

    def write(self, hosts: HostList) -> str:
        """Raises UsageError when a host has no slots: DeepSpeed takes no line without."""
        without = [host.name for host in hosts.hosts if host.node.slots is None]
        if without:
            raise UsageError(
                f"no slots are known for {', '.join(without)}",
                why="every line of a DeepSpeed hostfile needs them",
                hint="say how many devices each node has: --slots 8",
            )
        return "".join(f"{host.name} slots={host.node.slots}\n" for host in hosts.hosts)


class Llmctl:
    """What `cluster.hostfile` of a recipe may hold: `root@node1=10.0.0.1:22 slots=8`."""

    carries = frozenset({"slots", "address", "port", "user", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors with line and column of each mistake."""
        return _read(text, source)

    def write(self, hosts: HostList) -> str:
        """A line a host; slots only where they are known."""
        return "".join(_line(host.node) for host in hosts.hosts)


def _read(text: str, source: str) -> HostList:
    return HostList(hosts=tuple(Host(node=node) for node in parse_hostfile(text, source)))


def node_text(node: Node) -> str:
    """A node in the form `[user@]name[=address][:port]`."""
    address = f"[{node.address}]" if node.address and ":" in node.address else node.address
    words = [f"{node.user}@" if node.user else "", node.name, f"={address}" if address else ""]
    return "".join(words) + (f":{node.port}" if node.port else "")


def _line(node: Node) -> str:
    return node_text(node) + (f" slots={node.slots}" if node.slots else "") + "\n"
