"""Ansible's model of an inventory, whichever file it comes from: groups in groups, variables that override each
other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmctl.recipe.hostlists.lines import Word, plain_name, user_name, whole_number
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node, is_address

ALL, UNGROUPED = "all", "ungrouped"
ADDRESS, PORT, USER = "ansible_host", "ansible_port", "ansible_user"
OLD_NAMES = {"ansible_ssh_host": ADDRESS, "ansible_ssh_port": PORT, "ansible_ssh_user": USER}
SLOTS, MAX_SLOTS = "slots", "max_slots"


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

    def members(self, name: str) -> Iterator[str]:
        """All hosts of a group and of the groups in it."""
        yield from self.groups[name].hosts
        for child in self.groups[name].children:
            yield from self.members(child)

    def as_list(self) -> HostList:
        """The hosts with the variables that hold for them. Raises Mistake for the first thing that is wrong."""
        depths = self._depths()
        members = {name: frozenset(self.members(name)) for name in self.groups if name != ALL}
        inner = sorted(members, key=lambda name: (depths[name], name))
        hosts = []
        for name, own in self.hosts.items():
            layers = [self.group(ALL).variables, *(self.groups[g].variables for g in inner if name in members[g]), own]
            hosts.append(
                _host(self.words[name], name, {key: given for layer in layers for key, given in layer.items()})
            )
        groups = {
            name: tuple(host for host in self.hosts if host in members[name])
            for name in self.groups
            if name not in (ALL, UNGROUPED) and members[name]
        }
        return HostList(hosts=tuple(hosts), groups=groups)

    def _depths(self) -> dict[str, int]:
        """How deep each group lies at most. Raises Mistake for a group that is not there or lies in itself."""
        depths = dict.fromkeys(self.groups, 1)

        def go_down(name: str, above: tuple[str, ...]) -> None:
            depths[name] = max(depths[name], len(above) + 1)
            for child, word in self.groups[name].children.items():
                if child not in self.groups:
                    raise word.mistake(f"there is no group {child}", f"write [{child}] with its hosts")
                if child == name or child in above:
                    raise word.mistake(f"the group {child} lies in itself")
                go_down(child, (*above, name))

        for name in list(self.groups):
            go_down(name, ())
        return depths


def _host(word: Word, name: str, given: Mapping[str, Given]) -> Host:
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
    return Host(node=node, max_slots=max_slots, variables={key: entry.value for key, entry in found.items()})


def host_variables(host: Host) -> dict[str, Any]:
    """The variables that say everything about a host again."""
    node = host.node
    values = {ADDRESS: node.address, PORT: node.port, USER: node.user, SLOTS: node.slots, MAX_SLOTS: host.max_slots}
    return {key: value for key, value in values.items() if value is not None} | dict(host.variables)
