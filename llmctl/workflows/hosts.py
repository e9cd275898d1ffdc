"""`llmctl hosts`: one list of machines in the form that each program wants, and what llmctl itself takes words for."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmctl.checks.folding import fold
from llmctl.errors import UsageError
from llmctl.recipe.hostlists import FORMATS, Format
from llmctl.recipe.hostlists.guess import guess_format
from llmctl.recipe.hostlists.losses import losses
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import parse_nodes
from llmctl.remote.connect import Target, read_ssh_config, resolve
from llmctl.remote.inventory import load_inventory


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A host list in its new form."""

    text: str
    read_as: str
    hosts: int
    warnings: tuple[str, ...]
    """What the reader took in an unusual way, and what the new form cannot carry."""


def convert(
    file: str, *, target: str, source: str | None = None, slots: int | None = None, only: Sequence[str] = ()
) -> Converted:
    """Read `file` (`-` is standard input) and write it as `target`. `source` names its format, which is otherwise
    told from the text; `slots` is for hosts that say nothing of theirs; `only` keeps these hosts, ranges, `@groups`.

    Raises UsageError (ManyErrors, with line and column) for whatever is wrong."""
    writer = _format(target, "--to")
    name, text = _read(file)
    read_as = source or guess_format(name, text)
    hosts = _format(read_as, "--from").read(text, name)
    if not hosts.hosts:
        raise UsageError("the list names no host", where=name, why=f"it was read as {read_as}", hint="--from FORMAT")
    if only:
        hosts = select(hosts, only)
    if slots is not None:
        if slots < 1:
            raise UsageError(f"--slots {slots} leaves nothing to run on")
        hosts = replace(hosts, hosts=tuple(_with_slots(host, slots) for host in hosts.hosts))
    text = writer.write(hosts)
    kept = writer.read(text, "the new list")
    return Converted(
        text=text,
        read_as=read_as,
        hosts=len(hosts.hosts),
        warnings=(*hosts.remarks, *losses(hosts, kept, target, writer.carries)),
    )


def select(hosts: HostList, words: Sequence[str]) -> HostList:
    """The part of a list that the words name; `@group` is a group of the list, `@all` all of it. Its order stays.

    Raises UsageError for a host or a group that the list does not have."""
    wanted = {node.name for node in parse_nodes(words, {"all": hosts.names} | dict(hosts.groups))}
    strangers = sorted(wanted - set(hosts.names))
    if strangers:
        # Of a range nobody has misspelt a name.
        near = difflib.get_close_matches(strangers[0], hosts.names, n=1) if strangers[0] in words else []
        hint = f"did you mean {near[0]}?" if near else f"it has {fold(hosts.names)}"
        raise UsageError(f"the list has no {fold(strangers)}", where="--only", hint=hint)
    groups = {name: tuple(host for host in members if host in wanted) for name, members in hosts.groups.items()}
    return replace(
        hosts,
        hosts=tuple(host for host in hosts.hosts if host.name in wanted),
        groups={name: members for name, members in groups.items() if members},
    )


def show(words: Sequence[str]) -> list[Target]:
    """Where each node of the words is, from the words, the inventory and ~/.ssh/config; nothing is asked.

    Raises UsageError for words that are no nodes."""
    nodes = parse_nodes(words)
    inventory, config = load_inventory(), read_ssh_config()
    return [resolve(node, inventory=inventory, config=config) for node in nodes]


def write_list(path: Path, text: str) -> None:
    """Write aside, then rename. Raises UsageError when that cannot be done."""
    aside = path.with_name(f".{path.name}.llmctl")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise UsageError("the list cannot be written", where=str(path), why=str(error)) from None


def _with_slots(host: Host, slots: int) -> Host:
    if host.node.slots is None and host.max_slots is not None and host.max_slots < slots:
        raise UsageError(f"--slots {slots} is more than max_slots={host.max_slots} of {host.name}")
    return replace(host, node=replace(host.node, slots=host.node.slots or slots))


def _format(name: str, option: str) -> Format:
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]}? There are {', '.join(FORMATS)}" if near else f"there are {', '.join(FORMATS)}"
        raise UsageError(f"no format {name!r}", where=option, hint=hint)
    return FORMATS[name]


def _read(file: str) -> tuple[str, str]:
    """The name for errors, and the text; line ends of any system."""
    name = "standard input" if file == "-" else file
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return name, data.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise UsageError("no such file", where=file) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the list cannot be read", where=name, why=str(error)) from None
