"""From a node's name to an open connection: where it is, which key it must show, how to log in."""

from __future__ import annotations

import getpass
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from llmctl.errors import LlmctlError, NodeError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.hostkeys import HostKey, changed_key, host_label, known_keys, unknown_key
from llmctl.remote.inventory import Entry, load_inventory
from llmctl.remote.login import Credentials, log_in
from llmctl.remote.ssh import SshTransport
from llmctl.remote.transport import Transport

CONNECT_TIMEOUT = 10.0
TRIES = 4

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
    node: Node, *, user: str | None = None, port: int | None = None, inventory: dict[str, Entry] | None = None
) -> Target:
    """Where `node` is: what is written with it, then `user` and `port`, the inventory, ~/.ssh/config, the defaults.

    Raises UsageError when ~/.ssh/config or the inventory cannot be read."""
    entry = (load_inventory() if inventory is None else inventory).get(node.name)
    config = _ssh_config(node.name)
    address = node.address or (entry.address if entry else None) or str(config.get("hostname", node.name))
    return Target(
        node=node,
        address=address,
        port=node.port or port or (entry.port if entry else None) or int(config.get("port", 22)),
        user=node.user or user or (entry.user if entry else None) or str(config.get("user", "")) or getpass.getuser(),
        identities=tuple(
            Path(name).expanduser()
            for name in [*([entry.key] if entry and entry.key else []), *config.get("identityfile", [])]
        ),
        jump=(entry.jump if entry else None) or _jump(config),
    )


def _ssh_config(name: str) -> paramiko.SSHConfigDict:
    path = Path.home() / ".ssh" / "config"
    if not path.is_file():
        return paramiko.SSHConfigDict()
    try:
        found = paramiko.SSHConfig.from_path(str(path)).lookup(name)
        int(found.get("port", 22))
        return found
    except (paramiko.SSHException, ImportError, ValueError) as error:
        raise UsageError(
            "the ssh configuration cannot be read",
            where=str(path),
            why=str(error),
            hint=f"give the address instead: {name}=10.0.0.1",
        ) from error


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
    inventory = load_inventory()
    targets = {id(node): resolve(node, user=user, port=port, inventory=inventory) for node in nodes}

    def one(node: Node) -> SshTransport:
        return open_target(targets[id(node)])

    return fan_out(nodes, one)


def open_target(
    target: Target, *, credentials: Credentials | None = None, verify: Verify | None = None
) -> SshTransport:
    """Open a connection to a resolved target; see `connect`."""
    behind = _open_jump(target) if target.jump else None
    transport: paramiko.Transport | None = None
    try:
        transport = _handshake(target, behind)
        (verify or verify_known)(target, _server_key(transport))
        log_in(transport, target.node.name, target.user, target.identities, credentials or Credentials())
        return SshTransport(target.node, transport, behind=behind)
    except LlmctlError:
        _close(transport, behind)
        raise
    except BaseException:
        _close(transport, behind)
        raise


def peek(target: Target) -> HostKey:
    """The host key that the target shows; no login. Raises NodeError when it cannot be reached."""
    behind = _open_jump(target) if target.jump else None
    transport: paramiko.Transport | None = None
    try:
        transport = _handshake(target, behind)
        return _server_key(transport)
    finally:
        _close(transport, behind)


def _close(transport: paramiko.Transport | None, behind: SshTransport | None) -> None:
    for opened in (transport, behind):
        if opened is not None:
            opened.close()


def _open_jump(target: Target) -> SshTransport:
    return connect(jump_node(target.jump or ""))


def jump_node(words: str) -> Node:
    """The node that a ProxyJump value `[user@]name[:port]` names."""
    user, _, rest = words.rpartition("@")
    name, _, port = rest.partition(":")
    return Node(name=name, user=user or None, port=int(port) if port.isdigit() else None)


def verify_known(target: Target, key: HostKey) -> None:
    """Refuse every key but the verified one. Raises HostKeyError."""
    known, source = known_keys(known_labels(target))
    if not known:
        raise unknown_key(target.node.name, target.label, key)
    if key not in known:
        raise changed_key(target.node.name, target.label, key, known, source)


def known_labels(target: Target) -> list[str]:
    """The names under which a known_hosts file may hold the target."""
    return list(dict.fromkeys([target.label, host_label(target.node.name, target.port)]))


def _server_key(transport: paramiko.Transport) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.get_base64())


def _handshake(target: Target, behind: SshTransport | None) -> paramiko.Transport:
    """Connect and agree on keys; the server's overload (MaxStartups) is waited out."""
    for attempt in range(1, TRIES + 1):
        sock = behind.open_stream(target.address, target.port) if behind else _dial(target)
        transport = paramiko.Transport(sock)
        transport.banner_timeout = CONNECT_TIMEOUT
        transport.handshake_timeout = 2 * CONNECT_TIMEOUT
        _prefer_known(transport, target)
        try:
            transport.start_client(timeout=2 * CONNECT_TIMEOUT)
            return transport
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.close()
            if "banner" in str(error) and attempt < TRIES:
                time.sleep(random.uniform(0.3, 0.7) * 2**attempt)  # noqa: S311 - spreads the retries
                continue
            raise NodeError(
                "no SSH conversation came about",
                where=target.node.name,
                why=f"{target.label}: {error or type(error).__name__}",
                hint=f"ssh -v -p {target.port} {target.user}@{target.address}",
            ) from error
    raise AssertionError("unreachable")


def _prefer_known(transport: paramiko.Transport, target: Target) -> None:
    """Ask first for the kind of key that was verified, so that a second kind is not taken for a changed key."""
    kinds = {key.kind for key in known_keys(known_labels(target))[0]}
    options = transport.get_security_options()
    signatures = {f"rsa-sha2-{bits}" for bits in (256, 512)} if "ssh-rsa" in kinds else set()
    options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds | signatures)


def _dial(target: Target) -> socket.socket:
    name, place = target.node.name, f"{target.address}:{target.port}"
    try:
        return socket.create_connection((target.address, target.port), timeout=CONNECT_TIMEOUT)
    except socket.gaierror as error:
        raise NodeError(
            "the name resolves nowhere",
            where=name,
            why=f"{target.address!r}: {error.strerror}",
            hint=f"give its address: {name}=10.0.0.1",
        ) from error
    except ConnectionRefusedError as error:
        raise NodeError(
            "the connection was refused",
            where=name,
            why=f"nothing listens on {place}",
            hint=f"start sshd there, or give its port: {name}={target.address}:2222",
        ) from error
    except OSError as error:
        why = f"{place} did not answer within {CONNECT_TIMEOUT:g} s" if isinstance(error, TimeoutError) else str(error)
        raise NodeError(
            "it cannot be reached", where=name, why=why, hint=f"is it on, and the address right? {name}=10.0.0.1"
        ) from error
