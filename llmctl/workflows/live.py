"""A run that has been started, with connections to its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from llmctl.errors import LlmctlError, ManyNodeErrors
from llmctl.launch.backends import BACKENDS, Backend
from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.remote.connect import connect, connect_all
from llmctl.remote.fanout import Outcome
from llmctl.remote.local import LocalTransport
from llmctl.remote.through import seats
from llmctl.remote.transport import Transport
from llmctl.run.folder import RunFolder
from llmctl.workflows.manifest import read_job


@dataclass(kw_only=True)
class Live:
    """A run with open connections to its nodes. A restart on other nodes changes `job`, `nodes` and `transports`."""

    folder: RunFolder
    job: Job
    backend: Backend
    nodes: tuple[Node, ...]
    transports: dict[str, Transport]
    login: Mapping[str, Any]
    """`user` and `port` of the recipe."""
    local: bool
    """It is reached on this machine: its one node, or the Slurm that has its nodes."""

    def reconnect(self, name: str) -> Transport:
        """A new connection to a node of the run."""
        (node,) = (node for node in self.nodes if node.name == name)
        if self.local:
            return LocalTransport(node)
        if before := self.login.get("through"):
            return seats(self._connect(machine(before)), [node])[name]
        return self._connect(node)

    def _connect(self, node: Node) -> Transport:
        return connect(node, user=self.login["user"], port=self.login["port"])

    def reached(self, name: str) -> Transport:
        """The connection to a node of the run, made anew when there is none."""
        if name not in self.transports:
            self.transports[name] = self.reconnect(name)
        return self.transports[name]

    def drop(self, name: str) -> None:
        """Close the connection to a node, if there is one."""
        transport = self.transports.pop(name, None)
        if transport is not None:
            transport.close()

    def close(self) -> None:
        """Close all connections."""
        for transport in list(self.transports.values()):
            transport.close()


class Connecting(Protocol):
    """Opens connections to nodes; each has its own outcome."""

    def __call__(
        self, nodes: Sequence[Node], *, user: str | None, port: int | None
    ) -> list[Outcome[Node, Transport]]: ...


@contextmanager
def opened(folder: RunFolder, connecting: Connecting = connect_all) -> Iterator[tuple[Live, dict[str, LlmctlError]]]:
    """A run with connections to those of its nodes that can be reached, and the errors of the others."""
    job, nodes, manifest = read_job(folder)
    errors: dict[str, LlmctlError] = {}
    transports: dict[str, Transport] = {}
    local = reached_here(manifest["backend"], manifest["login"])
    if local:
        transports = {node.name: LocalTransport(node) for node in nodes}
    else:
        for outcome in _reach(nodes, manifest["login"], connecting):
            if outcome.value is not None:
                transports[outcome.item.name] = outcome.value
            elif outcome.error is not None:
                errors[outcome.item.name] = outcome.error
    live = Live(
        folder=folder,
        job=job,
        backend=BACKENDS[manifest["backend"]],
        nodes=tuple(nodes),
        transports=transports,
        login=manifest["login"],
        local=local,
    )
    try:
        yield live, errors
    finally:
        live.close()


def open_all(nodes: Sequence[Node], login: Mapping[str, Any], *, local: bool) -> dict[str, Transport]:
    """Connections to all nodes by name. Raises ManyNodeErrors when any cannot be reached; none is then left open."""
    if local:
        return {node.name: LocalTransport(node) for node in nodes}
    outcomes = _reach(nodes, login, connect_all)
    errors = [outcome.error for outcome in outcomes if outcome.error]
    opened = {outcome.item.name: outcome.value for outcome in outcomes if outcome.value}
    if errors:
        for transport in opened.values():
            transport.close()
        raise ManyNodeErrors(errors, what=f"{len(errors)} of {len(nodes)} nodes cannot be used")
    return opened


def reached_here(backend: str, login: Mapping[str, Any]) -> bool:
    """Whether nothing has to be connected to for a run."""
    return backend == "local" or (backend == "slurm" and not login.get("through"))


def machine(text: str) -> Node:
    """The machine that `launch.slurm.login` names."""
    return parse_nodes([text])[0]


def _reach(nodes: Sequence[Node], login: Mapping[str, Any], connecting: Connecting) -> list[Outcome[Node, Transport]]:
    user, port = login["user"], login["port"]
    if not login.get("through"):
        return connecting(nodes, user=user, port=port)
    (before,) = connecting([machine(login["through"])], user=user, port=port)
    if before.value is None:
        return [Outcome(node, error=before.error) for node in nodes]
    found = seats(before.value, nodes)
    return [Outcome(node, value=found[node.name]) for node in nodes]
