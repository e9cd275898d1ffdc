"""Ansible inventories in YAML: groups with `hosts`, `children` and `vars`."""

from __future__ import annotations

import re
from typing import Any

from llmctl.errors import ManyErrors
from llmctl.recipe.hostlists.ansible import GROUP, host_names
from llmctl.recipe.hostlists.inventory import ALL, UNGROUPED, Given, Inventory, host_variables
from llmctl.recipe.hostlists.lines import Mistake, Word
from llmctl.recipe.hostlists.values import HostList
from llmctl.recipe.hostlists.yaml_text import dump, entries, load, plain


class AnsibleYaml:
    """YAML. Templates, vaults and the files of `host_vars/` and `group_vars/` are not read."""

    carries = frozenset({"slots", "max_slots", "address", "port", "user", "variables", "groups", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors or UsageError with line and column of the first mistake."""
        document = load(text, source)
        inventory = Inventory()
        try:
            for name, place, content in entries(document, Word("", 1, 1), "an inventory"):
                _group(inventory, name, place, content)
            return inventory.as_list()
        except Mistake as mistake:
            raise ManyErrors([mistake.error(source)], where=source) from None

    def write(self, hosts: HostList) -> str:
        """All hosts below `all`, then the groups by name."""
        groups = {name: {"hosts": dict.fromkeys(members)} for name, members in hosts.groups.items()}
        whole: dict[str, Any] = {"hosts": {host.name: host_variables(host) or None for host in hosts.hosts}}
        return dump({ALL: whole | ({"children": groups} if groups else {})})


def _group(inventory: Inventory, name: str, word: Word, content: Any) -> None:
    if not re.fullmatch(GROUP, name):
        raise word.mistake(f"{name!r} is no group")
    group = inventory.group(name)
    for key, place, inside in entries(content, word, f"the group {name}"):
        if key == "hosts":
            for pattern, at, variables in entries(inside, place, "hosts"):
                given = {k: Given(plain(v), w) for k, w, v in entries(variables, at, pattern)}
                for host in host_names(Word(pattern, at.line, at.column)):
                    inventory.add_host(host, at, UNGROUPED if name == ALL else name, given)
        elif key == "children":
            for child, at, below in entries(inside, place, "children"):
                if name != ALL:
                    group.children.setdefault(child, at)
                _group(inventory, child, at, below)
        elif key == "vars":
            group.variables.update({k: Given(plain(v), w) for k, w, v in entries(inside, place, "vars")})
        else:
            raise place.mistake(f"unknown key {key!r} in the group {name}", "a group has hosts, children and vars")
