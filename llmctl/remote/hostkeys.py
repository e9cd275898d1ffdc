"""Host keys: which ones were verified, how they are named, and what is said when one is unknown or changed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from llmctl.errors import HostKeyError
from llmctl.remote.inventory import write_private
from llmctl.resources import home_dir


@dataclass(frozen=True)
class HostKey:
    """A server's public key: its type and its blob in base64, as known_hosts holds them."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh shows it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def own_known_hosts() -> Path:
    """The launcher's own file of verified host keys."""
    return home_dir() / "known_hosts"


def host_label(address: str, port: int) -> str:
    """The name of a server in known_hosts: `[address]:port` unless the port is 22."""
    return address if port == 22 else f"[{address}]:{port}"


class KnownHosts:
    """A known_hosts text, read once: the lines by plain name, and those whose names are hashed.

    Lines that mark authorities or revoked keys, patterns and broken lines say nothing about one server's key
    and are passed over."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, list[tuple[int, str]]] = {}
        self._hashed: list[tuple[int, str, str]] = []
        for number, line in enumerate(text.splitlines()):
            names = line.split(maxsplit=1)[0].split(",") if line.strip() else []
            if not names or names[0].startswith(("#", "@")):
                continue
            for name in names:
                if name.startswith("|1|"):
                    self._hashed.append((number, name, line))
                else:
                    self._lines.setdefault(name, []).append((number, line))

    def keys(self, labels: Iterable[str]) -> list[HostKey]:
        """The keys of any of `labels`, in the order of the text."""
        lines: dict[int, str] = {}
        for label in labels:
            lines |= self._lines.get(label, ())
            lines |= ((number, line) for number, name, line in self._hashed if _is_hash_of(name, label))
        return list(dict.fromkeys(key for _, line in sorted(lines.items()) if (key := _key(line)) is not None))


def _is_hash_of(name: str, label: str) -> bool:
    try:
        return paramiko.HostKeys.hash_host(label, name) == name
    except (ValueError, IndexError, AssertionError):  # a broken line
        return False


def _key(line: str) -> HostKey | None:
    try:
        entry = HostKeyEntry.from_line(line)
    except (InvalidHostKey, ValueError, paramiko.SSHException):
        return None
    return (
        HostKey(entry.key.get_name(), entry.key.get_base64()) if entry is not None and entry.key is not None else None
    )


def find_keys(text: str, labels: Sequence[str]) -> list[HostKey]:
    """The keys that a known_hosts text holds for any of `labels`, hashed names too."""
    return KnownHosts(text).keys(labels)


Trusted = Callable[[Sequence[str]], tuple[list[HostKey], Path]]
"""A server's names -> what the launcher trusts for it, and the file that says so."""


def trusted() -> Trusted:
    """What the launcher trusts, read now: its own file first; the user's ~/.ssh/known_hosts when that is silent."""
    users = Path.home() / ".ssh" / "known_hosts"
    files = [
        (path, KnownHosts(path.read_text(encoding="utf-8", errors="replace")))
        for path in (own_known_hosts(), users)
        if path.is_file()
    ]

    def look_up(labels: Sequence[str]) -> tuple[list[HostKey], Path]:
        return next(((keys, path) for path, known in files if (keys := known.keys(labels))), ([], users))

    return look_up


def known_keys(labels: Sequence[str]) -> tuple[list[HostKey], Path]:
    """What the launcher trusts for one server and the file that says so; see `trusted`."""
    return trusted()(labels)


def with_key(text: str, label: str, key: HostKey) -> str:
    """The known_hosts text in which `key` is the one key of `label`."""
    return without_key(text, label) + f"{label} {key.kind} {key.blob}\n"


def without_key(text: str, label: str) -> str:
    """The known_hosts text without the lines of `label`."""
    return "".join(line for line in text.splitlines(keepends=True) if line.split(" ")[0] != label)


def remember(label: str, key: HostKey) -> None:
    """Keep a verified key in the launcher's own file; unchanged when it is there already."""
    path = own_known_hosts()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if find_keys(text, [label]) != [key]:
        write_private(path, with_key(text, label, key))


def forget(label: str) -> bool:
    """Drop what the launcher's own file holds for `label`; whether there was anything."""
    path = own_known_hosts()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rest = without_key(text, label)
    if rest != text:
        write_private(path, rest)
    return rest != text


def unknown_key(node: str, label: str, key: HostKey) -> HostKeyError:
    """The error for a server that was never verified."""
    return HostKeyError(
        "the host key is not known",
        where=node,
        why=f"{label} shows {key.kind} {key.fingerprint}, which nobody has verified yet",
        hint="compare it on the node (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then, with the other nodes "
        f"beside it: llmctl setup-nodes {_word(node, label)} --fingerprint {node}={key.fingerprint}",
    )


def _word(node: str, label: str) -> str:
    """The node as it is typed, from the label of its host key: `address` or `[address]:port`."""
    address, _, port = label.removeprefix("[").partition("]:")
    place = "" if address == node else f"={address}"
    return f"{node}{place}{f':{port}' if port else ''}"


def changed_key(node: str, label: str, key: HostKey, known: Sequence[HostKey], source: Path) -> HostKeyError:
    """The error for a server whose key is not the one that `source` holds."""
    before = ", ".join(f"{old.kind} {old.fingerprint}" for old in known)
    forget_it = f"llmctl setup-nodes {node} --forget"
    if source != own_known_hosts():
        forget_it = f"ssh-keygen -R '{label}' -f '{source}'"
    return HostKeyError(
        "the host key has changed",
        where=node,
        why=f"verified before ({source}): {before}; {label} now shows {key.kind} {key.fingerprint}. Either the node "
        "was installed anew or somebody stands in between",
        hint=f"when the new key is right, forget the old one: {forget_it}",
    )
