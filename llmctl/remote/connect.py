"""From a node's name to an open connection: where it is, which key it must show, how to log in."""

from __future__ import annotations

import getpass
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from llmctl.errors import NodeError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.handshake import Server, Socket, dial, shake_hands
from llmctl.remote.hostkeys import HostKey, Trusted, changed_key, host_label, trusted, unknown_key
from llmctl.remote.inventory import Entry, load_inventory
from llmctl.remote.login import Credentials, log_in
from llmctl.remote.ssh import SshTransport, Way
from llmctl.remote.transport import Transport

Verify = Callable[["Target", HostKey], None]
"""Looks at a server's key before anything secret is sent; raises HostKeyError to refuse it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a node really is."""

    node: Node
    address: str
    port: int
    user: str
    identities: tuple[Path, ...] = ()
    jump: str | None = None

    @property
    def label(self) -> str:
        """Its name in known_hosts."""
        return host_label(self.address, self.port)


def resolve(
    node: Node,
    *,
    user: str | None = None,
    port: int | None = None,
    inventory: dict[str, Entry] | None = None,
    config: paramiko.SSHConfig | None = None,
) -> Target:
    """Where `node` is: what is written with it, then `user` and `port`, the inventory, ~/.ssh/config, the defaults.
    `inventory` and `config` are what was read of the two before.

    Raises UsageError when ~/.ssh/config or the inventory cannot be read."""
    entry = (load_inventory() if inventory is None else inventory).get(node.name)
    written = _looked_up(config or read_ssh_config(node.name), node.name)
    address = node.address or (entry.address if entry else None) or str(written.get("hostname", node.name))
    return Target(
        node=node,
        address=address,
        port=node.port or port or (entry.port if entry else None) or int(written.get("port", 22)),
        user=node.user or user or (entry.user if entry else None) or str(written.get("user", "")) or getpass.getuser(),
        identities=tuple(
            Path(name).expanduser()
            for name in [*([entry.key] if entry and entry.key else []), *written.get("identityfile", [])]
        ),
        jump=(entry.jump if entry else None) or _jump(written),
    )


def read_ssh_config(name: str = "NODE") -> paramiko.SSHConfig:
    """The person's ~/.ssh/config; empty when there is none. Raises UsageError, with `name` in its advice."""
    path = Path.home() / ".ssh" / "config"
    try:
        return paramiko.SSHConfig.from_path(str(path)) if path.is_file() else paramiko.SSHConfig()
    except (paramiko.SSHException, OSError, ValueError) as error:
        raise _unreadable(path, error, name) from error


def _looked_up(config: paramiko.SSHConfig, name: str) -> paramiko.SSHConfigDict:
    try:
        found = config.lookup(name)
        int(found.get("port", 22))
        return found
    except (paramiko.SSHException, ImportError, ValueError) as error:
        raise _unreadable(Path.home() / ".ssh" / "config", error, name) from error


def _unreadable(path: Path, error: Exception, name: str) -> UsageError:
    return UsageError(
        "the ssh configuration cannot be read",
        where=str(path),
        why=str(error),
        hint=f"give the address instead: {name}=10.0.0.1",
    )


def _jump(config: paramiko.SSHConfigDict) -> str | None:
    jump = str(config.get("proxyjump", "none"))
    return None if jump.lower() == "none" else jump.split(",")[-1]


def connect(
    node: Node,
    *,
    user: str | None = None,
    port: int | None = None,
    credentials: Credentials | None = None,
    verify: Verify | None = None,
) -> SshTransport:
    """Open a connection to `node`. Its host key must be one that was verified before, unless `verify` decides.

    Raises HostKeyError for an unknown or changed key and NodeError when it cannot be reached or refuses the login."""
    return open_target(resolve(node, user=user, port=port), credentials=credentials, verify=verify)


def connect_all(
    nodes: Sequence[Node], *, user: str | None = None, port: int | None = None
) -> list[Outcome[Node, Transport]]:
    """Open connections to all nodes at once; each has its own outcome. The caller closes them."""
    return [Outcome(each.item, each.value, each.error) for each in open_all(nodes, user=user, port=port)]


def open_all(
    nodes: Sequence[Node], *, user: str | None = None, port: int | None = None
) -> list[Outcome[Node, SshTransport]]:
    """`connect_all` with connections that can also stream."""
    _, one = opener(nodes, user, port)
    return fan_out(nodes, lambda node: one(node, None))


def opener(
    nodes: Sequence[Node], user: str | None, port: int | None
) -> tuple[dict[int, Target], Callable[[Node, socket.socket | None], SshTransport]]:
    """Where the nodes are, by the identity of each, and what opens a connection to one, on a TCP connection if that is
    there already."""
    inventory, config, known = load_inventory(), read_ssh_config(), trusted()
    targets = {id(node): resolve(node, user=user, port=port, inventory=inventory, config=config) for node in nodes}
    ways = _open_ways([jump for node in nodes if (jump := targets[id(node)].jump)])

    def one(node: Node, dialled: socket.socket | None) -> SshTransport:
        target = targets[id(node)]
        way = _way(ways[target.jump], target) if target.jump else None
        return open_target(target, known=known, way=way, dialled=dialled)

    return targets, one


def _open_ways(jumps: Sequence[str]) -> dict[str, Outcome[str, Way]]:
    """One connection to each jump host, however many nodes lie behind it: a connection a node would be more than its
    sshd takes at once (MaxStartups)."""
    users = Counter(jumps)
    outcomes = fan_out(users, lambda jump: Way(connect(jump_node(jump)), users=users[jump]))
    return {outcome.item: outcome for outcome in outcomes}


def _way(outcome: Outcome[str, Way], target: Target) -> Way:
    if outcome.value is not None:
        return outcome.value
    error = outcome.error
    raise NodeError(
        "the jump host before it cannot be used",
        where=target.node.name,
        why=f"{error.where}: {error.what}" + (f": {error.why}" if error.why else "") if error else "",
        hint=error.hint if error else "",
    )


def open_target(
    target: Target,
    *,
    credentials: Credentials | None = None,
    verify: Verify | None = None,
    known: Trusted | None = None,
    way: Way | None = None,
    dialled: socket.socket | None = None,
) -> SshTransport:
    """Open a connection to a resolved target; see `connect`. `known` is what is trusted, where it was read before;
    `way` is a jump host that is open already, which is let go of when the connection ends; `dialled` is a TCP
    connection to it."""
    known = known or trusted()
    if way is None and target.jump:
        way = Way(connect(jump_node(target.jump)))
    transport: paramiko.Transport | None = None
    try:
        transport = _shake_hands(target, way, known, dialled)
        if verify is not None:
            verify(target, _server_key(transport))
        else:
            verify_known(target, _server_key(transport), known)
        log_in(transport, target.node.name, target.user, target.identities, credentials or Credentials())
        return SshTransport(target.node, transport, behind=way)
    except BaseException:
        _close(transport, way)
        raise


def peek(target: Target) -> HostKey:
    """The host key that the target shows; no login. Raises NodeError when it cannot be reached."""
    way = Way(connect(jump_node(target.jump))) if target.jump else None
    transport: paramiko.Transport | None = None
    try:
        transport = _shake_hands(target, way, trusted())
        return _server_key(transport)
    finally:
        _close(transport, way)


def _close(transport: paramiko.Transport | None, way: Way | None) -> None:
    for opened in (transport, way):
        if opened is not None:
            opened.close()


def jump_node(words: str) -> Node:
    """The node that a ProxyJump value `[user@]name[:port]` names."""
    user, _, rest = words.rpartition("@")
    name, _, port = rest.partition(":")
    return Node(name=name, user=user or None, port=int(port) if port.isdigit() else None)


def verify_known(target: Target, key: HostKey, known: Trusted | None = None) -> None:
    """Refuse every key but the verified one. Raises HostKeyError."""
    keys, source = (known or trusted())(known_labels(target))
    if not keys:
        raise unknown_key(target.node.name, target.label, key)
    if key not in keys:
        raise changed_key(target.node.name, target.label, key, keys, source)


def known_labels(target: Target) -> list[str]:
    """The names under which a known_hosts file may hold the target."""
    return list(dict.fromkeys([target.label, host_label(target.node.name, target.port)]))


def _server_key(transport: paramiko.Transport) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.get_base64())


def _shake_hands(
    target: Target, way: Way | None, known: Trusted, dialled: socket.socket | None = None
) -> paramiko.Transport:
    """Ask first for the kind of key that was verified, so that a second kind is not taken for a changed key."""
    server = server_of(target)
    kinds = {key.kind for key in known(known_labels(target))[0]}
    signatures = {f"rsa-sha2-{bits}" for bits in (256, 512)} if "ssh-rsa" in kinds else set()
    first = [dialled] if dialled else []

    def stream() -> Socket:
        if first:
            return first.pop()
        return way.open_stream(target.address, target.port) if way else dial(server)

    return shake_hands(server, stream, kinds | signatures)


def server_of(target: Target) -> Server:
    """What is dialled, and named in errors."""
    return Server(node=target.node.name, user=target.user, address=target.address, port=target.port)
