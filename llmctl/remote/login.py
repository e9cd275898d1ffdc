"""Logging in: the launcher's own key, the user's keys and agent, or a password that is sent once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko

from llmctl.errors import NodeError, UsageError
from llmctl.remote.secret import Secret
from llmctl.resources import home_dir

MAX_KEYS = 5
"""Servers hang up after six tries (MaxAuthTries)."""
LIMIT = 20.0
"""Seconds for all tries together."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What else may be tried than the launcher's own key. `only_own_key`: nothing else."""

    password: Secret | None = None
    identity: Path | None = None
    only_own_key: bool = False


def own_key() -> Path:
    """The launcher's own private key; setup-nodes makes it."""
    return home_dir() / "id_ed25519"


def log_in(
    transport: paramiko.Transport, node: str, user: str, identities: tuple[Path, ...], credentials: Credentials
) -> None:
    """Authenticate on a verified connection, within LIMIT seconds. Raises NodeError when every way is refused."""
    deadline = time.monotonic() + LIMIT
    tried: list[str] = []
    try:
        for name, key in _keys(identities, credentials):
            transport.auth_timeout = _left(deadline)
            tried.append(name)
            with suppress(paramiko.AuthenticationException):
                transport.auth_publickey(user, key)
            if transport.is_authenticated():  # not so when the server wants a second proof
                return
            if not transport.is_active() or time.monotonic() >= deadline:
                break
        if credentials.password is not None and transport.is_active() and time.monotonic() < deadline:
            transport.auth_timeout = _left(deadline)
            tried.append("the password")
            transport.auth_password(user, credentials.password.reveal())
            if transport.is_authenticated():
                return
    except paramiko.BadAuthenticationType as error:
        takes = ", ".join(map(str, error.allowed_types))
        raise _refused(node, user, tried, f"; its sshd takes no password here, only {takes}") from error
    except paramiko.AuthenticationException:
        pass
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise NodeError("the login broke off", where=node, why=str(error) or type(error).__name__) from error
    if time.monotonic() >= deadline:
        raise NodeError(
            "the login got no answer",
            where=node,
            why=f"user {user}, within {LIMIT:g} s; tried {', '.join(tried)}",
            hint="does the user's home folder, or the service that knows the users (LDAP, NIS), hang there?",
        )
    refused = _refused(node, user, tried, "" if transport.is_active() else "; then the server hung up")
    if not transport.is_active() and len(tried) == 1:
        refused.hint += ", or see in the log of its sshd why: journalctl -u ssh -n 20"
    raise refused


def _left(deadline: float) -> float:
    return max(1.0, deadline - time.monotonic())


def _refused(node: str, user: str, tried: Sequence[str], more: str) -> NodeError:
    return NodeError(
        "the login was refused",
        where=node,
        why=f"user {user}; tried {', '.join(tried) or 'nothing: there is no key yet'}{more}",
        hint=f"llmctl setup-nodes {node} --user {user}",
    )


def _keys(identities: tuple[Path, ...], credentials: Credentials) -> Iterator[tuple[str, paramiko.PKey]]:
    """The keys to offer, best first, at most MAX_KEYS."""
    given = (credentials.identity,) if credentials.identity else ()
    if credentials.identity and _load(credentials.identity) is None:
        raise UsageError(
            "this key cannot be used",
            where=str(credentials.identity),
            why="it is no private key, or a passphrase protects it",
            hint=f"ssh-add {credentials.identity}, then run the command without --identity",
        )
    files = [own_key(), *given]
    if not credentials.only_own_key and not given:
        files += identities or tuple(Path.home() / ".ssh" / f"id_{kind}" for kind in ("ed25519", "ecdsa", "rsa"))
    found: list[tuple[str, paramiko.PKey]] = []
    for path in files:
        key = _load(path)
        if key is not None:
            found.append((str(path), key))
    if not (credentials.only_own_key or given or identities):
        agent = paramiko.Agent()
        found += [(f"the agent's {key.get_name()}", key) for key in agent.get_keys()]
    yield from found[:MAX_KEYS]


def _load(path: Path) -> paramiko.PKey | None:
    """A private key; None when there is none or it needs a passphrase (the agent may hold it then)."""
    if not path.is_file():
        return None
    try:
        return paramiko.PKey.from_path(path)
    except (paramiko.SSHException, ValueError, TypeError, OSError):
        return None
