"""A lab: its nodes, the launcher's own home beside them, and what tests may do to a node."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from llmctl.remote.transport import CommandResult

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class LabNode:
    """One node: where its sshd listens and which folder is its own."""

    name: str
    address: str
    port: int = 22
    user: str = "root"
    workdir: str = "/tmp/llmctl"

    @property
    def spec(self) -> str:
        """As a person types it for the first contact."""
        return f"{self.user}@{self.name}={self.address}:{self.port}"


class Site(Protocol):
    """What carries the nodes: namespaces (root) or plain daemons on loopback."""

    nodes: tuple[LabNode, ...]
    password: str | None

    def exec(self, node: LabNode, command: str, *, stdin: str = "", timeout: float = 60) -> CommandResult: ...
    def crash(self, node: LabNode) -> None: ...
    def cut(self, node: LabNode) -> None: ...
    def join(self, node: LabNode) -> None: ...
    def slow(self, node: LabNode, delay_ms: float, loss: float) -> None: ...
    def restart(self, node: LabNode) -> None: ...
    def new_host_key(self, node: LabNode) -> None: ...
    def close(self) -> None: ...


@dataclass
class Lab:
    """`with Lab.start(count=2) as lab`: everything is gone at the end."""

    site: Site
    folder: Path
    home: Path
    """LLMCTL_HOME of this lab."""
    user_home: Path
    """HOME of the person at the launcher."""
    python: str = field(default=sys.executable)
    """The interpreter, which works on the nodes too."""

    @classmethod
    @contextmanager
    def start(
        cls, count: int = 2, *, disk_mb: int = 512, shared: Path | None = None, rootless: bool | None = None
    ) -> Iterator[Lab]:
        """Bring up `count` nodes named node1... `disk_mb` bounds a node's /tmp; `shared` is a folder that all
        nodes and the launcher see at the same path. `rootless` chooses the site; without it the uid does.

        Raises RuntimeError with the reason where this machine cannot carry it."""
        folder = Path(tempfile.mkdtemp(prefix="llmctl-lab-"))
        try:
            site = _site(folder, count, disk_mb=disk_mb, shared=shared, rootless=rootless)
            try:
                yield cls(site, folder, folder / "llmctl-home", _made(folder / "user-home"))
            finally:
                site.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        return self.site.nodes

    @property
    def specs(self) -> list[str]:
        """The nodes as arguments of `llmctl setup-nodes`."""
        return [node.spec for node in self.nodes]

    @property
    def env(self) -> dict[str, str]:
        """The environment for llmctl: its own home, nothing of the person's ssh agent."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("SSH_", "LLMCTL_", "PDSH_"))}
        return {**env, "LLMCTL_HOME": str(self.home), "HOME": str(self.user_home)}

    def password_file(self) -> Path:
        """A private file with the password of every node."""
        if self.site.password is None:
            raise RuntimeError("the nodes of a rootless lab take keys only")
        return _private(self.folder / "password", self.site.password + "\n")

    def login_options(self) -> list[str]:
        """What `llmctl setup-nodes` needs for the first login: a password file, or the key of a rootless lab."""
        if self.site.password is not None:
            return ["--password-file", str(self.password_file())]
        return ["--identity", str(self.folder / "bootstrap")]

    def exec(self, node: LabNode, command: str, *, stdin: str = "", timeout: float = 60) -> CommandResult:
        """Run `command` with sh inside the node, not over ssh."""
        return self.site.exec(node, command, stdin=stdin, timeout=timeout)

    def read(self, node: LabNode, path: str) -> str | None:
        """The text of a file inside the node; None when there is none."""
        result = self.exec(node, f"cat '{path}'")
        return result.stdout if result.ok else None

    def write(self, node: LabNode, path: str, text: str, *, mode: str = "644") -> None:
        """Put a file inside the node."""
        done = self.exec(
            node, f"mkdir -p \"$(dirname '{path}')\" && cat > '{path}' && chmod {mode} '{path}'", stdin=text
        )
        if not done.ok:
            raise RuntimeError(done.stderr)

    def crash(self, node: LabNode) -> None:
        """Kill everything on the node at once."""
        self.site.crash(node)

    def cut(self, node: LabNode) -> None:
        """Pull the node's cable: nothing is refused, nothing answers."""
        self.site.cut(node)

    def join(self, node: LabNode) -> None:
        """Plug the cable in again, and let it be as quick as it was."""
        self.site.join(node)

    def slow(self, node: LabNode, *, delay_ms: float = 0, loss: float = 0) -> None:
        """Delay each frame from and to the node, and lose `loss` of them (0 to 1), until `join`.

        Raises RuntimeError in a lab without root."""
        self.site.slow(node, delay_ms, loss)

    def restart(self, node: LabNode) -> None:
        """Reboot the node, crashed or not: its files are there again, its processes are not."""
        self.site.restart(node)

    def new_host_key(self, node: LabNode) -> None:
        """Restart the node's sshd with another host key."""
        self.site.new_host_key(node)


def _site(folder: Path, count: int, *, disk_mb: int, shared: Path | None, rootless: bool | None) -> Site:
    sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if sshd is None:
        raise RuntimeError("sshd is not installed (package openssh-server)")
    if rootless is None:
        rootless = os.geteuid() != 0 or not _may_unshare()
    if rootless:
        from tests.lab.farm import Farm

        return Farm.start(folder, count, sshd=sshd)
    if shutil.which("ip") is None:
        raise RuntimeError("ip is not installed (package iproute2)")
    from tests.lab.netns import Namespaces

    return Namespaces.start(folder, count, sshd=sshd, disk_mb=disk_mb, shared=shared, password=secrets.token_urlsafe(9))


def _may_unshare() -> bool:
    """Whether this root may make namespaces (not so in most containers)."""
    from tests.lab.netns import quiet

    return quiet("unshare", "-m", "-n", "-u", "-i", "-p", "-f", "true")


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def _private(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path
