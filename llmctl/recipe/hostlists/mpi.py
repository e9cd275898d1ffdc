"""Hostfiles of MPI: Open MPI's `node1 slots=8 max_slots=16`, MPICH's and Intel MPI's `node1:8`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from llmctl.recipe.hostlists.lines import Word, plain_name, read_each, split_words, user_name, whole_number
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node

KEYS = dict.fromkeys(("slots", "cpus", "count"), "slots") | dict.fromkeys(
    ("max_slots", "max-slots", "slots_max", "slots-max"), "max_slots"
)
"""Open MPI's spellings."""


class OpenMpi:
    """Open MPI. A name that stands on several lines has the slots of all of them together."""

    carries = frozenset({"slots", "max_slots", "user", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors with line and column of each mistake."""
        lines = split_words(text, r"[^\s=]+(?:[ \t]*=[ \t]*[^\s=]*)*")
        return _joined(read_each(lines, _openmpi_line, source))

    def write(self, hosts: HostList) -> str:
        """A line a host; slots only where they are known."""
        return "".join(_openmpi_text(host) for host in hosts.hosts)


class Mpich:
    """MPICH and Intel MPI (Hydra). A name that stands on several lines has the processes of all of them together."""

    carries = frozenset({"slots", "user", "order"})

    def read(self, text: str, source: str) -> HostList:
        """Raises ManyErrors with line and column of each mistake."""
        return _joined(read_each(split_words(text), _mpich_line, source))

    def write(self, hosts: HostList) -> str:
        """A line a host; the number of processes only where it is known."""
        return "".join(_mpich_text(host.node) for host in hosts.hosts)


@dataclass(frozen=True)
class _Line:
    """One line: a host, and what of it was left out."""

    host: Host
    remark: str = ""


def _openmpi_line(words: list[Word]) -> _Line:
    first = words[0]
    if first.text.startswith(("^", "+")):
        raise first.mistake(
            f"{first.text!r} names no host", "leave the line out; name hosts to be left out with --only"
        )
    user, at, _ = first.text.partition("@")
    name = plain_name(first.at(len(user) + 1) if at else first)
    found: dict[str, int] = {}
    for word in words[1:]:
        given, equals, value = word.text.partition("=")
        key = KEYS.get(given.strip())
        if key is None or not equals:
            raise word.mistake(f"unknown word {word.text!r}", "a line is: node1 slots=8 max_slots=16")
        if key in found:
            raise word.mistake(f"{key} stands twice")
        number = word.at(len(given) + 1 + len(value) - len(value.lstrip()))
        found[key] = whole_number(number, key)
    slots, most = found.get("slots"), found.get("max_slots")
    if most is not None and slots is not None and most < slots:
        raise first.mistake(f"max_slots={most} is less than slots={slots}")
    node = Node(name=name, user=user_name(Word(user, first.line, first.column)) if at else None, slots=slots)
    return _Line(Host(node=node, max_slots=most))


def _openmpi_text(host: Host) -> str:
    words = [f"{host.node.user}@{host.name}" if host.node.user else host.name]
    words += [f"slots={host.node.slots}"] if host.node.slots else []
    words += [f"max_slots={host.max_slots}"] if host.max_slots else []
    return " ".join(words) + "\n"


def _mpich_line(words: list[Word]) -> _Line:
    first = words[0]
    name, colon, _ = first.text.partition(":")
    slots = whole_number(first.at(len(name) + 1), "the number of processes") if colon else None
    name = plain_name(Word(name, first.line, first.column))
    user, remark = None, ""
    for word in words[1:]:
        key, equals, _ = word.text.partition("=")
        if key == "user" and equals and user is None:
            user = user_name(word.at(len("user=")))
        elif key == "binding" and equals and not remark:
            remark = f"{name}: {word.text} is left out; no other format has it"
        else:
            raise word.mistake(f"unknown word {word.text!r}", "a line is: node1:8, or node1:8 user=me")
    return _Line(Host(node=Node(name=name, user=user, slots=slots)), remark)


def _mpich_text(node: Node) -> str:
    count = f":{node.slots}" if node.slots else ""
    return node.name + count + (f" user={node.user}" if node.user else "") + "\n"


def _joined(lines: list[_Line]) -> HostList:
    """Repeated names made one host, as mpirun does; a line without a number counts as one slot then."""
    times = Counter(line.host.name for line in lines)
    hosts: dict[str, Host] = {}
    for line in lines:
        name, new = line.host.name, line.host
        if times[name] > 1:
            new = replace(new, node=replace(new.node, slots=new.node.slots or 1))
        if name in hosts:
            old = hosts[name]
            slots = (old.node.slots or 0) + (new.node.slots or 0)
            most = (old.max_slots or 0) + (new.max_slots or 0)
            new = replace(old, node=replace(old.node, slots=slots), max_slots=max(most, slots) if most else None)
        hosts[name] = new
    repeated = [
        f"{name} stands {count} times: counted as {hosts[name].node.slots} slots"
        for name, count in times.items()
        if count > 1
    ]
    return HostList(hosts=tuple(hosts.values()), remarks=(*(line.remark for line in lines if line.remark), *repeated))
