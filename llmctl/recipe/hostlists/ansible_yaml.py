"""Ansible inventories in YAML: groups with `hosts`, `children` and `vars`."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MantissaNoDotYAML1_1Warning, MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.hostlists.ansible import GROUP, host_names
from llmctl.recipe.hostlists.inventory import ALL, UNGROUPED, Given, Inventory, host_variables
from llmctl.recipe.hostlists.lines import Mistake, Word
from llmctl.recipe.hostlists.values import HostList


class AnsibleYaml:
    """YAML. Templates, vaults and the files of `host_vars/` and `group_vars/` are not read."""

    carries = frozenset({"slots", "max_slots", "address", "port", "user", "variables", "groups", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors or UsageError with line and column of the first mistake."""
        try:
            document = _load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
            raise UsageError("is no YAML", where=where, why=str(error.problem or error.context)) from None
        except (YAMLError, ValueError, RecursionError) as error:
            raise UsageError("is no YAML", where=source, why=str(error)) from None
        inventory = Inventory()
        try:
            for name, place, content in _entries(document, Word("", 1, 1), "an inventory"):
                _group(inventory, name, place, content)
            return inventory.as_list()
        except Mistake as mistake:
            raise ManyErrors([mistake.error(source)], where=source) from None

    def write(self, hosts: HostList) -> str:
        """All hosts below `all`, then the groups by name."""
        groups = {_text(name): {"hosts": dict.fromkeys(map(_text, members))} for name, members in hosts.groups.items()}
        whole: dict[str, Any] = {
            "hosts": {_text(host.name): _quoted(host_variables(host)) or None for host in hosts.hosts}
        }
        if groups:
            whole["children"] = groups
        yaml = YAML()
        yaml.width = 4096
        yaml.allow_unicode = True
        yaml.representer.add_representer(type(None), _empty)
        stream = io.StringIO()
        yaml.dump({ALL: whole}, stream)
        return stream.getvalue()


def _load(text: str) -> Any:
    yaml = YAML()
    yaml.version = (1, 1)  # what Ansible reads: `yes` is true
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MantissaNoDotYAML1_1Warning)
        return yaml.load(text)


def _text(name: str) -> str:
    """A name, in quotes unless it is plain, and where the YAML 1.1 that Ansible reads would take it for a truth."""
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) and not re.fullmatch(r"(?i)y|n|yes|no|on|off", name)
    return name if plain else DoubleQuotedScalarString(name)


def _quoted(value: Any) -> Any:
    """All texts in quotes, so that no reader of YAML takes them for something else."""
    if isinstance(value, dict):
        return {_text(key): _quoted(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quoted(inside) for inside in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


def _empty(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "")


def _group(inventory: Inventory, name: str, word: Word, content: Any) -> None:
    if not re.fullmatch(GROUP, name):
        raise word.mistake(f"{name!r} is no group")
    group = inventory.group(name)
    for key, place, inside in _entries(content, word, f"the group {name}"):
        if key == "hosts":
            for pattern, at, variables in _entries(inside, place, "hosts"):
                given = {k: Given(_plain(v), w) for k, w, v in _entries(variables, at, pattern)}
                for host in host_names(Word(pattern, at.line, at.column)):
                    inventory.add_host(host, at, UNGROUPED if name == ALL else name, given)
        elif key == "children":
            for child, at, below in _entries(inside, place, "children"):
                if name != ALL:
                    group.children.setdefault(child, at)
                _group(inventory, child, at, below)
        elif key == "vars":
            group.variables.update({k: Given(_plain(v), w) for k, w, v in _entries(inside, place, "vars")})
        else:
            raise place.mistake(f"unknown key {key!r} in the group {name}", "a group has hosts, children and vars")


def _entries(value: Any, word: Word, what: str) -> list[tuple[str, Word, Any]]:
    """Key, its place and the value of every entry; none for nothing. Raises Mistake for what is no mapping."""
    if value is None:
        return []
    if not isinstance(value, CommentedMap):
        raise word.mistake(f"{what} must be a mapping of names", "write `name:` instead of `- name`")
    found = []
    for key, content in value.items():
        line, column = value.lc.key(key)
        place = Word(str(key), line + 1, column + 1)
        if isinstance(key, bool) or key is None:
            raise place.mistake("YAML takes this name for true, false or nothing", 'put it in quotes: "no"')
        found.append((str(key), place, content))
    return found


def _plain(value: Any) -> Any:
    """Without YAML's marks; what JSON does not know becomes text."""
    if isinstance(value, CommentedMap):
        return {str(key): _plain(inside) for key, inside in value.items()}
    if isinstance(value, CommentedSeq):
        return [_plain(inside) for inside in value]
    if value is None or isinstance(value, bool):
        return value
    kind = next((kind for kind in (int, float) if isinstance(value, kind)), str)
    return kind(value)
