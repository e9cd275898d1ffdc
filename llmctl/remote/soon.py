"""Connections for a question that is not worth a wait: nodes that are away are found out by how fast the others are."""

from __future__ import annotations

import time
from collections.abc import Sequence

from llmctl.errors import Unanswered
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import opener, server_of
from llmctl.remote.fanout import Outcome, first_come
from llmctl.remote.handshake import DIAL, dial
from llmctl.remote.ssh import SshTransport
from llmctl.remote.transport import Transport


def connect_soon(
    nodes: Sequence[Node], *, user: str | None = None, port: int | None = None
) -> list[Outcome[Node, Transport]]:
    """As `connect_all`, for a question that is not worth a wait: a node whose machine is silent when the others have
    answered is an error after half a second or so, one whose sshd is much slower than theirs after three."""
    targets, connection = opener(nodes, user, port)
    started = time.monotonic()
    dialled: dict[int, float] = {}
    ended: set[int] = set()

    def one(node: Node) -> SshTransport:
        try:
            if targets[id(node)].jump:
                dialled[id(node)] = time.monotonic() - started
                return connection(node, None)
            way = dial(server_of(targets[id(node)]))
            dialled[id(node)] = time.monotonic() - started
            return connection(node, way)
        finally:
            ended.add(id(node))

    def patience(newest: float | None) -> float:
        at_login = dialled.keys() - ended
        return login_patience(newest) if at_login else dial_patience(max(dialled.values(), default=None), len(nodes))

    opened = first_come(nodes, one, patience=patience, late=_late, drop=SshTransport.close)
    return [Outcome(each.item, each.value, each.error) for each in opened]


def dial_patience(newest: float | None, count: int) -> float:
    """Seconds to wait for the TCP answer of a machine among `count`, when that of the last one came `newest` seconds
    after the start. Among many there is time for a lost packet to be sent again, which is after a second."""
    return DIAL if newest is None else min(DIAL, max(0.4 if count <= 4 else 1.4, 2 * newest))


def login_patience(newest: float | None) -> float:
    """Seconds to wait for a login behind the TCP answer; a busy node needs some to make a session."""
    return 60.0 if newest is None else max(3.0, 2 * newest)


def _late(node: Node, seconds: float) -> Unanswered:
    return Unanswered(
        "it does not answer",
        where=node.name,
        why=f"not within {seconds:.1f} s, in which the others did",
        hint=f"llmctl check {node.name}",
    )
