"""What `llmctl doctor` reads on the launcher's own machine, and what it says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Health(StrEnum):
    """BAD stops something that llmctl does (exit 3); WARN is a trap for the hand, or a thing to be done soon."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that was looked at."""

    what: str
    found: str
    health: Health
    next: str = ""
    """What to type or change; empty when all is well."""


GOOD, WARN, BAD = Health.GOOD, Health.WARN, Health.BAD


def row(what: str, found: str, health: Health = GOOD, next: str = "") -> Row:
    """A row in the order in which it is told."""
    return Row(what=what, found=found, health=health, next=next)


def counted(number: int, noun: str) -> str:
    """`1 key`, `2 keys`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Answer:
    """What a tool printed. `text` None: it is not installed."""

    text: str | None
    code: int = 0


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A file or folder as it lies there."""

    path: str
    exists: bool = False
    mode: int = 0
    """Permission bits."""
    own: bool = True
    """Whether it belongs to whoever runs llmctl."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A place that llmctl writes to. `error`: why it could not be looked at."""

    what: str
    path: str
    free: int = 0
    """Bytes for us."""
    inodes: int | None = None
    """Free; None where the file system has no fixed number."""
    writable: bool = True
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything that was read; nothing of it is a secret."""

    version: str
    executable: str
    python: tuple[int, ...]
    requirements: Mapping[str, str]
    """Package -> least version."""
    packages: Mapping[str, str | None]
    """Package -> installed version; None: not there."""
    ssh: Answer
    ssh_keygen: bool
    """Whether it is installed; setup-nodes makes keys with it."""
    pdsh: Answer
    agent_socket: str | None
    agent: Answer
    """What `ssh-add -l` says."""
    pdsh_environment: Mapping[str, str]
    environment_bytes: int
    argument_bytes: int
    """All arguments and the environment of a command together, at most."""
    one_argument_bytes: int
    home: FileState
    own_key: FileState
    own_files: tuple[FileState, ...]
    """The inventory, the known hosts, the index of runs."""
    ssh_folder: FileState
    ssh_keys: tuple[FileState, ...]
    ssh_config: str | None
    ssh_config_error: str = ""
    own_known_hosts: str | None
    user_known_hosts: str | None
    inventory: int = 0
    """Nodes in it."""
    inventory_error: str = ""
    runs: int = 0
    runs_error: str = ""
    hostname: str
    addresses: tuple[str, ...] = ()
    """What the own name resolves to."""
    outward: str | None = None
    """The own address towards other machines."""
    synchronised: bool | None = None
    """Whether the kernel knows its clock to be kept right; None: it does not tell."""
    disks: tuple[Disk, ...] = field(default=())
    open_files: int
    """The soft limit."""
