"""What gets lost when a host list is written in a format that cannot carry it: told, never silent."""

from __future__ import annotations

from collections.abc import Callable

from llmctl.recipe.hostlists.folding import fold
from llmctl.recipe.hostlists.slurm import in_own_order
from llmctl.recipe.hostlists.values import Host, HostList

_OF_A_HOST: dict[str, Callable[[Host], bool]] = {
    "slots": lambda host: host.node.slots is not None,
    "max_slots": lambda host: host.max_slots is not None,
    "address": lambda host: host.node.address is not None,
    "port": lambda host: host.node.port is not None,
    "user": lambda host: host.node.user is not None,
}
FIELDS = (*_OF_A_HOST, "variables", "groups", "order")
NOUNS = {"slots": "slots", "max_slots": "max_slots", "address": "the address", "port": "the port", "user": "the user"}


def losses(hosts: HostList, kept: HostList, name: str, carries: frozenset[str]) -> list[str]:
    """One line for each kind of thing that the format `name` leaves out, with the hosts that it concerns. `kept` is
    what reads back from it."""
    told = []
    for field, has in _OF_A_HOST.items():
        concerned = [host.name for host in hosts.hosts if has(host)]
        if concerned and field not in carries:
            told.append(f"{NOUNS[field]} of {some(concerned)}: the format {name} cannot carry it")
    there = {host.name: host.variables for host in kept.hosts}
    for key in sorted({key for host in hosts.hosts for key in host.variables}):
        concerned = [
            host.name
            for host in hosts.hosts
            if key in host.variables and (key, host.variables[key]) not in there[host.name].items()
        ]
        if concerned:
            told.append(f"the variable {key} of {some(concerned)}: the format {name} cannot carry it")
    if hosts.groups and "groups" not in carries:
        told.append(f"the groups {', '.join(hosts.groups)}: the format {name} cannot carry them")
    if "order" not in carries and not in_own_order(hosts.names):
        told.append(f"the order of the hosts: the format {name} has none, and Slurm sorts the nodes of a job")
    return told


def some(names: list[str]) -> str:
    """Names folded into ranges, the first few of many."""
    runs = [
        run.alone if run.alone is not None else f"{run.before}[{run.low}-{run.high}]{run.after}" for run in fold(names)
    ]
    return ", ".join(runs[:8]) + (f" and {len(runs) - 8} more" if len(runs) > 8 else "")
