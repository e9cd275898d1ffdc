"""Ansible's model of an inventory, whichever file it comes from: groups in groups, variables that override each
other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from llmctl.recipe.hostlists.lines import Word, plain_name, user_name, whole_number
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node, is_address

ALL, UNGROUPED = "all", "ungrouped"
ADDRESS, PORT, USER = "ansible_host", "ansible_port", "ansible_user"
OLD_NAMES = {"ansible_ssh_host": ADDRESS, "ansible_ssh_port": PORT, "ansible_ssh_user": USER}
SLOTS, MAX_SLOTS = "slots", "max_slots"
SSH_ARGS = "ansible_ssh_common_args"
PROXY_JUMP = re.compile(r"\s*(?:-o\s*ProxyJump=|-J\s*)([A-Za-z0-9_.@:-]+)\s*")
"""Arguments of ssh that name a jump host and nothing else."""


@dataclass(frozen=True)
class Given:
    """A variable's value and where it stands."""

    value: Any
    word: Word


@dataclass
class Group:
    """One group as the file has it."""

    hosts: dict[str, Word] = field(default_factory=dict)
    children: dict[str, Word] = field(default_factory=dict)
    variables: dict[str, Given] = field(default_factory=dict)


@dataclass
class Inventory:
    """A file, taken in. `hosts` holds each host's own variables, in order of appearance."""

    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, dict[str, Given]] = field(default_factory=dict)
    words: dict[str, Word] = field(default_factory=dict)
    """Where each host stands first."""

    def add_host(self, name: str, word: Word, group: str, variables: Mapping[str, Given]) -> None:
        """Put a host into a group; what is given for it later overrides what was given before."""
        self.group(group).hosts.setdefault(name, word)
        self.hosts.setdefault(name, {}).update(variables)
        self.words.setdefault(name, word)

    def group(self, name: str) -> Group:
        """The group of that name, made when there is none."""
        return self.groups.setdefault(name, Group())

    def as_list(self) -> HostList:
        """The hosts with the variables that hold for them. Raises Mistake for the first thing that is wrong."""
        order = self._inner_first()
        members: dict[str, frozenset[str]] = {}
        for name in order:
            group = self.groups[name]
            members[name] = frozenset(group.hosts).union(*(members[child] for child in group.children))
        depths = dict.fromkeys(order, 1)
        for name in reversed(order):
            for child in self.groups[name].children:
                depths[child] = max(depths[child], depths[name] + 1)
        outer_first = sorted((name for name in order if name != ALL), key=lambda name: (depths[name], name))
        hosts = []
        for name, own in self.hosts.items():
            given = dict(self.group(ALL).variables)
            for group_name in outer_first:
                if name in members[group_name]:
                    given |= self.groups[group_name].variables
            hosts.append(host_from(self.words[name], name, given | own))
        groups = {
            name: tuple(host for host in self.hosts if host in members[name])
            for name in self.groups
            if name not in (ALL, UNGROUPED) and members[name]
        }
        return HostList(hosts=tuple(hosts), groups=groups)

    def _inner_first(self) -> list[str]:
        """The groups, each behind those that it holds. Raises Mistake for a group that is not there or lies in
        itself."""
        for group in self.groups.values():
            for child, word in group.children.items():
                if child not in self.groups:
                    raise word.mistake(f"there is no group {child}", f"write [{child}] with its hosts")
        graph = {name: list(group.children) for name, group in self.groups.items()}
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle: list[str] = error.args[1]
            words = [self.groups[outer].children[inner] for inner, outer in pairwise(circle)]
            last = max(words, key=lambda word: word.line)
            raise last.mistake(f"the group {last.text} lies in itself") from None


def host_from(word: Word, name: str, given: Mapping[str, Given]) -> Host:
    """A host with the variables that hold for it; `word` is where it stands. Raises Mistake."""
    plain_name(Word(name, word.line, word.column))
    found = {OLD_NAMES.get(key, key): value for key, value in given.items()}

    def text(key: str) -> Word | None:
        entry = found.pop(key, None)
        return None if entry is None else Word(str(entry.value), entry.word.line, entry.word.column)

    address, port, user, slots, most = (text(key) for key in (ADDRESS, PORT, USER, SLOTS, MAX_SLOTS))
    if address is not None and not is_address(address.text):
        raise address.mistake(f"{ADDRESS} {address.text!r} is no address", "templates are not evaluated here")
    node = Node(
        name=name,
        address=address.text if address and address.text != name else None,
        port=whole_number(port, PORT, most=65535) if port else None,
        user=user_name(user) if user else None,
        slots=whole_number(slots, SLOTS) if slots else None,
    )
    max_slots = whole_number(most, MAX_SLOTS) if most else None
    if most and max_slots and max_slots < (node.slots or 0):
        raise most.mistake(f"max_slots={max_slots} is less than slots={node.slots}")
    variables = {key: entry.value for key, entry in found.items()}
    jump = PROXY_JUMP.fullmatch(str(variables.get(SSH_ARGS, "")))
    if jump:  # one spelling, so that lists can be compared
        variables[SSH_ARGS] = f"-o ProxyJump={jump[1]}"
    return Host(node=node, max_slots=max_slots, variables=variables)


def host_variables(host: Host) -> dict[str, Any]:
    """The variables that say everything about a host again."""
    node = host.node
    values = {ADDRESS: node.address, PORT: node.port, USER: node.user, SLOTS: node.slots, MAX_SLOTS: host.max_slots}
    return {key: value for key, value in values.items() if value is not None} | dict(host.variables)
