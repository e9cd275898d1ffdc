"""The file of `setup-nodes --inventory`: hosts with their own user, port, key, jump host and password file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.recipe.yaml_file import read_mapping
from llmctl.remote.inventory import Entry

EXAMPLE = "hosts: {node1: {address: 10.0.0.1}, node2: {address: 10.0.0.2, port: 2222}}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One host of the file. Paths of the launcher are absolute here."""

    node: Node
    key: Path | None = None
    jump: str | None = None
    python: str | None = None
    workdir: str | None = None
    password_file: Path | None = None


def read_settings(path: Path) -> tuple[Settings, ...]:
    """The hosts of an inventory file in its order, ranges expanded, defaults filled in.

    Raises UsageError for a file that cannot be read, ManyErrors with line and key path of every mistake in it."""
    document = _document(path)
    errors: list[UsageError] = []
    for key in document.keys() - {"defaults", "hosts"}:
        errors.append(_unknown(path, document, key, "", ["defaults", "hosts"]))
    defaults = _block(path, document, "defaults", errors)
    shared = {} if defaults is None else _values(path, defaults, "defaults", [*CHECKS][1:], errors)
    hosts = _block(path, document, "hosts", errors)
    if hosts is None and not errors:
        errors.append(UsageError("hosts: is missing", where=f"{path}:1", hint=EXAMPLE))
    found: dict[str, Settings] = {}
    for name in hosts or ():
        try:
            nodes = parse_nodes([str(name)])
        except UsageError as error:
            errors.append(_told(path, hosts, name, f"hosts.{name}", error))
            continue
        own = _block(path, hosts or {}, name, errors, above="hosts.")
        values = {**shared, **({} if own is None else _values(path, own, f"hosts.{name}", [*CHECKS], errors))}
        if "address" in values and len(nodes) > 1:
            errors.append(_mistake(path, own, "address", f"hosts.{name}.address", "a range cannot have one address"))
        for node in nodes:
            if node.name in found:
                errors.append(_mistake(path, hosts, name, f"hosts.{name}", f"{node.name} stands twice"))
            found[node.name] = _settings(node, values)
    if not found and not errors:
        errors.append(UsageError("hosts: names no host", where=f"{path}:1", hint=EXAMPLE))
    if errors:
        raise ManyErrors(sorted(errors, key=lambda error: int(error.where.rpartition(":")[2])), where=str(path))
    return tuple(found.values())


def chosen(settings: tuple[Settings, ...], nodes: tuple[Node, ...]) -> tuple[Settings, ...]:
    """The hosts among `settings` that `nodes` name, in that order; what is written with a node goes first.

    Raises UsageError for a node that the file does not have."""
    by_name = {each.node.name: each for each in settings}
    strangers = [node.name for node in nodes if node.name not in by_name]
    if strangers:
        raise UsageError(f"not in the inventory file: {', '.join(strangers)}", hint=f"it has {', '.join(by_name)}")
    return tuple(replace(by_name[node.name], node=_over(by_name[node.name].node, node)) for node in nodes)


def remembered(inventory: Mapping[str, Entry], settings: Mapping[str, Settings]) -> dict[str, Entry]:
    """The inventory as the file changes it: what the file says of a host counts, and what it leaves out is dropped."""
    merged = dict(inventory)
    for name, each in settings.items():
        before = inventory.get(name, Entry(address="", user="", port=0))
        merged[name] = replace(
            before, key=str(each.key) if each.key else None, jump=each.jump, python=each.python, workdir=each.workdir
        )
    return merged


def _over(below: Node, above: Node) -> Node:
    return replace(
        below, address=above.address or below.address, user=above.user or below.user, port=above.port or below.port
    )


def _settings(node: Node, values: Mapping[str, Any]) -> Settings:
    rest = {key: value for key, value in values.items() if key not in ("address", "user", "port")}
    over = Node(name=node.name, address=values.get("address"), user=values.get("user"), port=values.get("port"))
    return Settings(node=_over(over, node), **rest)


def _document(path: Path) -> CommentedMap:
    try:
        return read_mapping(path, what="an inventory file", hint=EXAMPLE)
    except FileNotFoundError:
        raise UsageError("no such inventory file", where=str(path), hint=f"write one: {EXAMPLE}") from None
    except OSError as error:
        raise UsageError("the inventory file cannot be read", where=str(path), why=str(error)) from None


def _block(
    path: Path, above_map: Mapping[Any, Any], key: Any, errors: list[UsageError], above: str = ""
) -> CommentedMap | None:
    """The block at `key`; None for an empty one. What is no block is noted."""
    value = above_map.get(key)
    if value is None or isinstance(value, CommentedMap):
        return value
    errors.append(_mistake(path, above_map, key, f"{above}{key}", "must be a block of keys"))
    return None


def _values(path: Path, block: CommentedMap, above: str, known: list[str], errors: list[UsageError]) -> dict[str, Any]:
    values = {}
    for key, value in block.items():
        if key not in known:
            errors.append(_unknown(path, block, key, f"{above}.", known))
            continue
        try:
            values[str(key)] = CHECKS[key](path.parent, value)
        except UsageError as error:
            errors.append(_told(path, block, key, f"{above}.{key}", error))
    return values


def _line(path: Path, block: Mapping[Any, Any] | None, key: Any) -> str:
    number = block.lc.key(key)[0] + 1 if isinstance(block, CommentedMap) and key in block.lc.data else 1
    return f"{path}:{number}"


def _mistake(path: Path, block: Mapping[Any, Any] | None, key: Any, keys: str, what: str) -> UsageError:
    return UsageError(f"{keys}: {what}", where=_line(path, block, key))


def _told(path: Path, block: Mapping[Any, Any] | None, key: Any, keys: str, error: UsageError) -> UsageError:
    inner = error.errors[0] if isinstance(error, ManyErrors) else error
    return UsageError(f"{keys}: {inner.what}", where=_line(path, block, key), why=inner.why, hint=inner.hint)


def _unknown(path: Path, block: CommentedMap, key: Any, above: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(known)}"
    return UsageError(f"{above}{key}: unknown key", where=_line(path, block, key), hint=hint)


def _text(pattern: str, meaning: str) -> Callable[[Path, Any], str]:
    def check(_: Path, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            quote = f'quote it: "{value}"' if isinstance(value, int | float) else ""
            raise UsageError(f"must be {meaning}, not {value!r}", hint=quote)
        return str(value)

    return check


def _port(_: Path, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise UsageError(f"must be a whole number from 1 to 65535, not {value!r}")
    return int(value)


def _file(folder: Path, value: Any) -> Path:
    if not isinstance(value, str):
        raise UsageError(f"must be the path of a file, not {value!r}")
    path = folder.resolve() / Path(value).expanduser()
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    return path


def _private(folder: Path, value: Any) -> Path:
    path = _file(folder, value)
    if path.stat().st_mode & 0o077:
        raise UsageError("others can read this file", hint=f"chmod 600 {path}")
    return path


_ACCOUNT = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
CHECKS: dict[str, Callable[[Path, Any], Any]] = {
    "address": _text(r"[A-Za-z0-9][A-Za-z0-9.:_-]*", "a name or an address"),
    "user": _text(_ACCOUNT, "an account's name"),
    "port": _port,
    "key": _file,
    "jump": _text(rf"(?:{_ACCOUNT}@)?[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]+)?", "[user@]name[:port]"),
    "python": _text(r"/[^\0\n]+", "an absolute path on the node"),
    "workdir": _text(r"/[^\0\n]+", "an absolute path on the node"),
    "password_file": _private,
}
"""Key -> its check. `address` comes first: it is the one key that defaults cannot have."""
