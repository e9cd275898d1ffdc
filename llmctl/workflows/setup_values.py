"""What setup-nodes is asked and what it tells: values of the steps in setup_steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmctl.errors import LlmctlError
from llmctl.remote.connect import Target
from llmctl.remote.firstcontact import FirstContact, Trust
from llmctl.remote.hostkeys import HostKey
from llmctl.remote.hostsettings import Settings
from llmctl.remote.inventory import Entry
from llmctl.remote.nodefiles import NodeFiles
from llmctl.remote.secret import Secret
from llmctl.remote.ssh import SshTransport

Mode = Literal["apply", "dry-run", "check"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the person asked for."""

    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    password: Callable[[], Secret | None] = lambda: None
    """Gives the password when a node needs one, always the same; called after the host keys were verified."""
    password_of: Callable[[str], Secret | None] = lambda _: None
    """Gives the password of one node on which the common one was refused, or None."""
    settings: Mapping[str, Settings] = field(default_factory=dict)
    """What the inventory file says of each node."""
    first_contact: FirstContact = field(default_factory=FirstContact)
    mesh: bool = False
    hosts: bool = True
    mode: Mode = "apply"
    progress: Callable[[str], None] = lambda _: None


@dataclass(kw_only=True)
class Member:
    """One node on its way through the set-up, and what became of it."""

    target: Target
    entry: Entry | None = None
    """What the inventory remembers of it, as the inventory file changes that."""
    trust: Trust | None = None
    changes: list[str] = field(default_factory=list)
    """Files that were changed, or would be."""
    diffs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What makes the node unfit; exit 3."""
    notes: list[str] = field(default_factory=list)
    error: LlmctlError | None = None
    files: NodeFiles | None = None
    key: HostKey | None = None
    transport: SshTransport | None = None
    password: Secret | None = None
    """The one that it was logged in with."""
    sudo_password: Secret | None = None
    """The one that sudo takes there."""
    public_key: str = ""
    made_pair: bool = False
    touched: bool = False
    """Something on it was changed, or was about to be."""
    done: bool = False
    """All that was to be changed on it is."""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.target.node.name

    @property
    def python(self) -> str:
        """The interpreter on the node."""
        return (self.entry.python if self.entry else None) or "python3"

    @property
    def may_be_root(self) -> bool:
        """Whether files of root can be written there."""
        return self.found.uid == 0 or self.found.sudo or self.sudo_password is not None

    @property
    def link(self) -> SshTransport:
        """The open connection, after the login."""
        if self.transport is None:
            raise RuntimeError(f"{self.name}: not logged in")
        return self.transport

    @property
    def found(self) -> NodeFiles:
        """What was found on the node, after the look."""
        if self.files is None:
            raise RuntimeError(f"{self.name}: not looked at")
        return self.files


@dataclass(frozen=True, kw_only=True)
class Login:
    """One promised login, proven by a new connection; `error` when it failed."""

    source: str
    """`launcher` or a node's name."""
    node: str
    error: LlmctlError | None = None
