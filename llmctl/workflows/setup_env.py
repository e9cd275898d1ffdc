"""The environment part of setup-nodes: the same packages on every node, proven by digests of their files."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from llmctl.errors import Interrupted, LlmctlError, NodeError, UsageError
from llmctl.remote.delivery import Place, ask
from llmctl.remote.fanout import fan_out
from llmctl.remote.inventory import load_inventory, save_inventory
from llmctl.workflows.env_source import EnvSource, conda_version
from llmctl.workflows.push import Step, Wish, push
from llmctl.workflows.setup_values import Member, Mode

EVERY = 2.0
"""Seconds between two words about progress."""
State = Literal["in place", "made", "not in place", "failed"]
Packages = Mapping[str, Sequence[str]]
"""Name -> version and the digest over its files."""


@dataclass(frozen=True, kw_only=True)
class EnvWish:
    """Which environment: its inputs, the interpreter or conda it is made with, and where."""

    source: EnvSource
    python: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if self.source.kind == "conda" and not (self.python and conda_version(self.python)):
            raise UsageError("this file is conda's explicit list", where=self.source.first, hint="--env-python conda")
        if self.path is not None and not self.path.startswith(("/", "~/")):
            raise UsageError(f"--env-path {self.path} must be absolute or begin with ~/")


@dataclass(kw_only=True)
class EnvState:
    """The environment on one node."""

    node: str
    state: State = "failed"
    path: str = ""
    python: str = ""
    packages: Packages = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: LlmctlError | None = None

    @property
    def digest(self) -> str:
        """The sha256 over the interpreter's version and every package's name, version and files."""
        told = [self.python, sorted((name, list(value)) for name, value in self.packages.items())]
        return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One package that is not the same everywhere: what it is, and on which nodes it is that."""

    package: str
    values: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        return f"{self.package}: " + "; ".join(f"{value} on {', '.join(nodes)}" for value, nodes in self.values.items())


def environments(members: Sequence[Member], wish: EnvWish, mode: Mode, tell: Callable[[str], None]) -> list[EnvState]:
    """Look at all nodes, and with `apply` make the environment where it is missing or was changed; each node has its
    own result, also one that Ctrl-C came before."""
    states = {member.name: EnvState(node=member.name, error=member.error) for member in members}
    good = [member for member in members if member.error is None]
    try:
        _look_and_make(good, states, wish, mode, tell)
    except KeyboardInterrupt:
        for state in states.values():
            if state.error is None and state.state not in ("in place", "made"):
                hint = "type the same command again: it goes on where it stopped"
                state.error, state.state = Interrupted("it was stopped", where=state.node, hint=hint), "failed"
    return list(states.values())


def _look_and_make(
    good: Sequence[Member], states: Mapping[str, EnvState], wish: EnvWish, mode: Mode, tell: Callable[[str], None]
) -> None:
    told: dict[str, dict[str, Any]] = {}

    def look(member: Member) -> None:
        request = {"verb": "look", "path": _path(member, wish)}
        told[member.name] = ask(_place(member), "environment.py", request, hear=_deaf)
        _note(states[member.name], told[member.name])

    tell("looking at the environments")
    _each(good, states, look)
    lacking = []
    for member in good:
        state = states[member.name]
        if state.error is None and _in_place(told[member.name], wish.source.digest(_asked(member, wish))):
            state.state = "in place"
        elif state.error is None:
            state.state = "not in place"
            state.notes += _drift(told[member.name])
            lacking.append(member)
    if mode == "apply" and lacking:
        _remember({member.name: (states[member.name].path, told[member.name]["missing"]) for member in lacking})
        _bring_wheels(lacking, states, wish, tell)
        whole = [member for member in lacking if states[member.name].error is None]
        paced = _Paced(tell)
        _each(whole, states, lambda member: _make(member, states[member.name], wish, paced))


def differences(states: Sequence[EnvState]) -> list[Difference]:
    """What is not the same on all nodes that have the environment; empty when it is equal."""
    there = [state for state in states if state.error is None and state.state in ("in place", "made")]
    names = sorted({name for state in there for name in state.packages})
    found = []
    for name, read in [("the interpreter", _python), *((name, _reader(name)) for name in names)]:
        values: dict[tuple[str, str], list[str]] = {}
        for state in there:
            values.setdefault(read(state), []).append(state.node)
        if len(values) > 1:
            alone = len({version for version, _ in values}) == len(values)
            shown = {(v if alone or not d else f"{v}, files {d[:8]}"): tuple(nodes) for (v, d), nodes in values.items()}
            found.append(Difference(package=name, values=shown))
    return found


def drop_environment(member: Member, path: str, folders: Sequence[str]) -> None:
    """Take an environment away that was made at `path`, and `folders` where they are empty then."""
    request = {"verb": "drop", "path": path, "folders": list(folders)}
    ask(_place(member), "environment.py", request, hear=_deaf)


def _python(state: EnvState) -> tuple[str, str]:
    return state.python, ""


def _reader(name: str) -> Callable[[EnvState], tuple[str, str]]:
    def read(state: EnvState) -> tuple[str, str]:
        version, digest = state.packages.get(name, ("missing", ""))
        return version, digest

    return read


def _each(members: Sequence[Member], states: Mapping[str, EnvState], work: Callable[[Member], None]) -> None:
    for outcome in fan_out(members, work):
        if outcome.error is not None:
            states[outcome.item.name].error = outcome.error
            states[outcome.item.name].state = "failed"


def _path(member: Member, wish: EnvWish) -> str:
    workdir = member.entry.workdir if member.entry else None
    return wish.path or (f"{workdir}/env" if workdir else "~/llmctl-env")


def _asked(member: Member, wish: EnvWish) -> str:
    return wish.python or member.python


def _place(member: Member) -> Place:
    return Place(link=member.link, target=member.target, path="", python=member.python)


def _note(state: EnvState, told: Mapping[str, Any]) -> None:
    state.path, state.python, state.packages = told["path"], told["python"], told["packages"]


def _in_place(told: Mapping[str, Any], inputs: str) -> bool:
    record = told["record"]
    return bool(
        record
        and record["inputs"] == inputs
        and record["packages"] == told["packages"]
        and record["python"] == told["python"]
    )


def _drift(told: Mapping[str, Any]) -> list[str]:
    """What was changed by hand since the environment was made."""
    record = told["record"]
    if not record:
        return []
    before, now = record["packages"], told["packages"]
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    return [f"changed since it was made: {', '.join(changed[:8])}{', ...' if len(changed) > 8 else ''}"] * bool(changed)


def _remember(made: Mapping[str, tuple[str, list[str]]]) -> None:
    """Note in the inventory what is about to be made, so that `--remove` knows it even when it breaks off."""
    inventory = load_inventory()
    for name, (path, folders) in made.items():
        entry = inventory[name]
        known = dict(entry.added.get("envs", {}))
        known.setdefault(path, folders)
        inventory[name] = replace(entry, added={**entry.added, "envs": known})
    save_inventory(inventory)


def _wheels(path: str) -> str:
    parent, _, name = path.rpartition("/")
    return f"{parent}/.{name}.llmctl-wheels"


def _bring_wheels(
    members: Sequence[Member], states: Mapping[str, EnvState], wish: EnvWish, tell: Callable[[str], None]
) -> None:
    """Push the wheelhouse to the nodes that need it."""
    if wish.source.wheelhouse is None:
        return
    paced = _Paced(tell)

    def step(each: Step) -> None:
        if each.phase == "idle":
            return
        of = f" of {each.total / 1e6:.1f}" if each.total else ""
        paced(f"wheels: {each.node} {each.phase} {each.done / 1e6:.1f}{of} MB")

    nodes = [replace(m.target.node, address=m.target.address, user=m.target.user, port=m.target.port) for m in members]
    places = {member.name: _wheels(states[member.name].path) for member in members}
    for arrival in push(wish.source.wheelhouse, nodes, places, Wish(replace=True, tell=step)).arrivals:
        if arrival.error is not None:
            if isinstance(arrival.error, Interrupted):
                raise KeyboardInterrupt
            states[arrival.node].error = arrival.error
            states[arrival.node].state = "failed"


def _make(member: Member, state: EnvState, wish: EnvWish, tell: Callable[[str], None]) -> None:
    source, asked = wish.source, _asked(member, wish)
    conda = conda_version(asked)
    request = {
        "verb": "make",
        "path": state.path,
        "inputs": source.digest(asked),
        "kind": source.kind,
        "files": dict(source.files),
        "first": source.first,
        "wheels": _wheels(state.path) if source.wheelhouse else None,
        "conda": conda is not None,
        "python": conda[0] if conda else asked,
        "version": conda[1] if conda else "",
    }

    def hear(words: Mapping[str, Any]) -> None:
        if "step" in words:
            tell(f"{member.name}: {words['step']}")

    told = ask(_place(member), "environment.py", request, hear=hear)
    if not told["python"]:
        raise NodeError("the environment's interpreter does not run", where=f"{member.name}:{told['path']}")
    _note(state, told)
    state.notes += told["notes"]
    state.state = "made" if told["fresh"] else "in place"


class _Paced:
    """Tells now and then."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told = 0.0

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            self._tell(text)


def _deaf(_: object) -> None:
    """Nobody listens."""
