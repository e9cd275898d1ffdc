"""How every ssh and pdsh that we start is told to behave, and what their complaints mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmctl.errors import HostKeyError, NodeError
from llmctl.remote.connect import Target, jump_node, known_labels, resolve
from llmctl.remote.hostkeys import known_keys
from llmctl.remote.login import own_key

STRICT = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "UpdateHostKeys": "no",
    "CheckHostIP": "no",
    "ConnectTimeout": "10",
    "LogLevel": "ERROR",
}
"""Only verified keys, no question, no wait without end."""


def ssh_options(config: Path) -> list[str]:
    """The arguments of every ssh that we start: the configuration of `ssh_config`, and strictness once more, so
    that nothing in it can be softer."""
    return ["-F", str(config), *(word for key, value in STRICT.items() for word in ("-o", f"{key}={value}"))]


def ssh_config(targets: Mapping[str, Target]) -> str:
    """A configuration for OpenSSH in which each alias is one target, with its verified key and our login key."""
    blocks = []
    jumps: dict[str, Target] = {}
    for alias, target in targets.items():
        blocks.append(_block(alias, target))
        if target.jump:
            jumps[f"{alias}-jump"] = resolve(jump_node(target.jump))
            blocks[-1] += f"    ProxyJump {alias}-jump\n"
    blocks += [_block(alias, jump) for alias, jump in jumps.items()]
    return "".join(blocks)


def _block(alias: str, target: Target) -> str:
    known = known_keys(known_labels(target))[1]
    lines = {
        "HostName": target.address,
        "Port": str(target.port),
        "User": target.user,
        "UserKnownHostsFile": f'"{known}"',
        **STRICT,
    }
    identities = [own_key(), *target.identities]
    keys = "".join(f'    IdentityFile "{path}"\n' for path in identities if path.is_file())
    return f"Host {alias}\n" + "".join(f"    {key} {value}\n" for key, value in lines.items()) + keys


def node_config(targets: Sequence[Target], key: str, known_hosts: str) -> list[str]:
    """Lines for ~/.ssh/config on a node that logs in to `targets`."""
    lines = []
    for target in targets:
        names = dict.fromkeys([target.node.name, target.address])
        lines += [
            f"Host {' '.join(names)}",
            f"    HostName {target.address}",
            f"    Port {target.port}",
            f"    User {target.user}",
            f"    IdentityFile {key}",
            f"    UserKnownHostsFile {known_hosts}",
            "    StrictHostKeyChecking yes",
        ]
    return lines


def complaint(node: str, text: str) -> NodeError:
    """What an ssh that ended with 255 meant, as an error about `node`."""
    why = " ".join(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("@"))[-400:]
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text or "Host key verification failed" in text:
        hint = f"when the new key is right: llmctl setup-nodes {node} --forget, then llmctl setup-nodes {node}"
        return HostKeyError("the host key is not the verified one", where=node, why=why, hint=hint)
    what = next((meaning for words, meaning in _MEANINGS.items() if words in text), "ssh failed")
    return NodeError(what, where=node, why=why, hint=f"llmctl setup-nodes {node}")


_MEANINGS = {
    "Permission denied": "the login was refused",
    "Could not resolve hostname": "the name resolves nowhere",
    "Connection refused": "the connection was refused",
    "timed out": "it cannot be reached",
    "No route to host": "it cannot be reached",
}
