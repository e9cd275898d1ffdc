"""Ansible inventories in INI form: `[group]`, `[group:children]`, `[group:vars]`, `node[01:16]`, host variables."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import Any

from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.hostlists.folding import Run, fold
from llmctl.recipe.hostlists.inventory import ALL, PORT, UNGROUPED, Given, Inventory, host_variables
from llmctl.recipe.hostlists.lines import Mistake, Word
from llmctl.recipe.hostlists.values import HostList
from llmctl.recipe.hosts import MOST_NODES

SECTION = re.compile(r"\[(?P<name>[^\[\]:\s#;]+)(?::(?P<kind>[a-z]+))?\]\s*(?:[#;].*)?")
RANGE = re.compile(
    r"\[(?P<low>[0-9]{1,9}|[A-Za-z]):(?P<high>[0-9]{1,9}|[A-Za-z])(?::(?P<step>[0-9]{1,9}))?\]", re.ASCII
)
GROUP = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"


class Ansible:
    """INI. Templates, vaults and the files of `host_vars/` and `group_vars/` are not read."""

    carries = frozenset({"slots", "max_slots", "address", "port", "user", "variables", "groups", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors with line and column of each mistake."""
        return _Reader(source).read(text)

    def write(self, hosts: HostList) -> str:
        """Hosts with their variables, then a section a group; neighbours without variables become ranges."""
        lines: list[str] = []
        plain: list[str] = []
        for host in hosts.hosts:
            variables = host_variables(host)
            if not variables:
                plain.append(host.name)
                continue
            lines += _ranges(plain)
            plain = []
            words = [f"{key}={shlex.quote(literal(value))}" for key, value in variables.items()]
            lines.append(" ".join([host.name, *words]))
        lines += _ranges(plain)
        for name, members in hosts.groups.items():
            lines += ["", f"[{name}]", *_ranges(list(members))]
        return "\n".join(lines) + "\n"


def literal(value: Any) -> str:
    """A value as Ansible reads it back from a host's line: text that would be taken for something else is quoted."""
    if isinstance(value, str) and "\n" not in value and value and unliteral(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def unliteral(text: str) -> Any:
    """What Ansible takes a text for: a Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


class _Reader:
    """Goes through the lines once and keeps what each mistake was."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.inventory = Inventory()
        self.group, self.kind = UNGROUPED, "hosts"
        self.defined = {ALL, UNGROUPED}
        self.only_variables: dict[str, Word] = {}
        self.mistakes: list[UsageError] = []

    def read(self, text: str) -> HostList:
        for number, line in enumerate(text.split("\n"), start=1):
            content = line.strip()
            if content and content[0] not in "#;":
                self._try(Word(content, number, len(line) - len(line.lstrip()) + 1))
        for name in self.only_variables.keys() - self.defined:
            what, hint = f"there is no group {name} whose variables these are", f"write [{name}] with its hosts"
            self.mistakes.append(self.only_variables[name].mistake(what, hint).error(self.source))
        if not self.mistakes:
            try:
                return self.inventory.as_list()
            except Mistake as mistake:
                self.mistakes.append(mistake.error(self.source))
        raise ManyErrors(self.mistakes, where=self.source)

    def _try(self, line: Word) -> None:
        try:
            if line.text.startswith("["):
                self._section(line)
            elif self.kind == "children":
                self._child(line)
            elif self.kind == "vars":
                key, given = _variable(_closed_up(line))
                self.inventory.group(self.group).variables[key] = given
            else:
                self._host(line)
        except Mistake as mistake:
            self.mistakes.append(mistake.error(self.source))

    def _section(self, line: Word) -> None:
        match = SECTION.fullmatch(line.text)
        if match is None or not re.fullmatch(GROUP, match["name"]):
            raise line.mistake(f"{line.text!r} is no section", "[group], [group:children] or [group:vars]")
        if match["kind"] not in (None, "hosts", "children", "vars"):
            raise line.at(match.start("kind")).mistake(
                f"unknown kind of section {match['kind']!r}", "[group], [group:children] or [group:vars]"
            )
        self.group, self.kind = match["name"], match["kind"] or "hosts"
        self.inventory.group(self.group)
        if self.kind == "vars":
            self.only_variables.setdefault(self.group, line)
        else:
            self.defined.add(self.group)

    def _child(self, line: Word) -> None:
        name = re.split(r"\s+#", line.text)[0]
        if not re.fullmatch(GROUP, name):
            raise line.mistake(f"{name!r} is no group", "one name a line")
        self.inventory.group(self.group).children.setdefault(name, Word(name, line.line, line.column))

    def _host(self, line: Word) -> None:
        first, *rest = _shell_words(line)
        pattern, port = first, {}
        found = re.fullmatch(r"(.*):([^:\]\[]*)", first.text)
        if found:
            pattern = Word(found[1], first.line, first.column)
            port = {PORT: Given(found[2], first.at(found.start(2)))}
        variables = port | dict(_variable(word) for word in rest)
        for name in host_names(pattern):
            self.inventory.add_host(name, pattern, self.group, variables)


def _closed_up(line: Word) -> Word:
    """A line `name = value` without the blanks beside its sign; the value's place stays."""
    key, equals, value = line.text.partition("=")
    blanks = len(line.text) - len(key.rstrip() + equals + value.lstrip())
    return Word(key.rstrip() + equals + value.lstrip(), line.line, line.column + blanks)


def _variable(word: Word) -> tuple[str, Given]:
    key, equals, value = word.text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise word.mistake(f"{word.text!r} is no variable", "the form is name=value")
    place = word.at(word.text.index("=") + 1)
    return key, Given(unliteral(value), place)


def _shell_words(line: Word) -> list[Word]:
    """The words of a host's line without their quotes; a comment begins at any # outside of quotes."""
    words: list[Word] = []
    quoted = r"\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\""
    for span in re.finditer(rf"(?P<comment>#)|(?:[^\s'\"\\#]|{quoted}|(?P<open>['\"\\]))+", line.text):
        if span["comment"]:
            break
        if span["open"] is not None:
            raise line.at(span.start("open")).mistake("a quote or backslash has no end")
        words.append(Word("".join(shlex.split(span.group())), line.line, line.column + span.start()))
    return words


def host_names(pattern: Word) -> list[str]:
    """The host names of a pattern with ranges such as `[01:16]`, `[a:f]`, `[1:9:2]`."""
    match = RANGE.search(pattern.text)
    if match is None:
        bracket = re.search(r"[\[\]]", pattern.text)
        if bracket:
            raise pattern.at(bracket.start()).mistake(f"{pattern.text!r} is no range", "the form is node[01:16]")
        return [pattern.text]
    place = pattern.at(match.start())
    middles = _between(place, match["low"], match["high"], int(match["step"] or 1))
    ends = host_names(pattern.at(match.end())) if match.end() < len(pattern.text) else [""]
    if len(middles) * len(ends) > MOST_NODES:
        raise place.mistake(f"the range names more than {MOST_NODES} hosts")
    return [pattern.text[: match.start()] + middle + end for middle in middles for end in ends]


def _between(place: Word, low: str, high: str, step: int) -> list[str]:
    if low.isdigit() != high.isdigit():
        raise place.mistake(f"a range goes from number to number or from letter to letter, not {low} to {high}")
    if low.startswith("0") and low != "0" and len(low) != len(high):
        raise place.mistake(f"{low} and {high} must have as many digits", "the form is node[01:16]")
    first, last = (int(low), int(high)) if low.isdigit() else (ord(low), ord(high))
    if last < first or step == 0:
        raise place.mistake(f"the range from {low} to {high} names nothing")
    if (last - first) // step >= MOST_NODES:
        raise place.mistake(f"the range names more than {MOST_NODES} hosts")
    width = len(low) if low.startswith("0") else 0
    return [f"{n:0{width}}" if low.isdigit() else chr(n) for n in range(first, last + 1, step)]


def _ranges(names: list[str]) -> list[str]:
    return [_range(run) for run in fold(names)]


def _range(run: Run) -> str:
    return run.alone if run.alone is not None else f"{run.before}[{run.low}:{run.high}]{run.after}"
