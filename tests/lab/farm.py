"""Nodes without root: one sshd each on 127.0.0.2.., throw-away keys, and per login a view of their own."""

from __future__ import annotations

import getpass
import os
import pwd
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from llmctl.remote.transport import CommandResult
from tests.lab.lab import CHECKOUT, LabNode
from tests.lab.sshd import config


def _view(root: Path, node: str, home: str) -> str:
    """The script of a login: host name, home, /tmp and /etc/hosts of the node; the checkout out of sight."""
    hidden = [home, "/tmp", str(CHECKOUT)]
    prefixes = dict.fromkeys([sys.prefix, sys.base_prefix])
    keep = [(f"/mnt/keep{i}", path) for i, path in enumerate(prefixes) if any(map(Path(path).is_relative_to, hidden))]
    lines = ["#!/bin/bash", 'if [ -z "$LAB_VIEW" ]; then', "export LAB_VIEW=$(id -u):$(id -g)"]
    lines += ['export command=${SSH_ORIGINAL_COMMAND:-exec bash -l}; exec unshare -Urm --uts bash "$0"; fi', "set -e"]
    lines += [f"hostname {node}", f"mount --rbind {shlex.quote(str(root))} /mnt"]
    lines += [f"mkdir -p {held}; mount --rbind {shlex.quote(path)} {held}" for held, path in keep]
    lines += [f"mount --rbind /mnt/home {shlex.quote(home)}", "mount --bind /mnt/hosts /etc/hosts"]
    lines += ["mount --rbind /mnt/tmp /tmp", f"mkdir -p {shlex.quote(str(CHECKOUT))}"]
    lines += [f"mount -t tmpfs hidden {shlex.quote(str(CHECKOUT))}"]
    lines += [f"mkdir -p {shlex.quote(path)}; mount --rbind {held} {shlex.quote(path)}" for held, path in keep]
    lines += [f"set +e; cd {shlex.quote(home)}; user=${{LAB_VIEW%:*}} group=${{LAB_VIEW#*:}}; unset LAB_VIEW"]
    lines += ['exec unshare -U --map-user="$user" --map-group="$group" bash -c "$command"']
    return "\n".join(lines) + "\n"


@dataclass
class Farm:
    """Plain daemons of an ordinary user. Names resolve through ~/.ssh/config only; the cable cannot be cut, so
    `cut` stops the daemon and its sessions where they are."""

    nodes: tuple[LabNode, ...]
    folder: Path
    sshd: str
    password: str | None = None
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path, count: int, *, sshd: str) -> Farm:
        if subprocess.run(["unshare", "-Urm", "--uts", "true"], capture_output=True, check=False).returncode:
            raise RuntimeError("user namespaces are not allowed here, and root is not given")
        port = _free_port(count)
        user = getpass.getuser()
        nodes = tuple(LabNode(f"node{i}", f"127.0.0.{i + 1}", port, user) for i in range(1, count + 1))
        farm = cls(nodes, folder, sshd)
        _keygen(folder / "bootstrap")
        home = pwd.getpwuid(os.getuid()).pw_dir
        try:
            for node in nodes:
                farm._prepare(node, home)
                farm._boot(node)
        except BaseException:
            farm.close()
            raise
        return farm

    def _prepare(self, node: LabNode, home: str) -> None:
        root = self.folder / node.name
        for name in ("home/.ssh", "tmp"):
            (root / name).mkdir(parents=True, mode=0o700)
        keys = root / "home/.ssh/authorized_keys"
        keys.write_text((self.folder / "bootstrap.pub").read_text())
        keys.chmod(0o600)
        (root / "hosts").write_text("127.0.0.1\tlocalhost\n")
        _keygen(root / "key")
        login = root / "login"
        login.write_text(_view(root, node.name, home), encoding="utf-8")
        login.chmod(0o755)
        more = (
            f"AuthorizedKeysFile {keys}",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            f"ForceCommand {login}",
        )
        text = config(key=str(root / "key"), pid=str(root / "pid"), address=node.address, port=node.port, more=more)
        (root / "config").write_text(text)

    def _boot(self, node: LabNode) -> None:
        root = self.folder / node.name
        argv = ["setpriv", "--pdeathsig", "KILL", "--", self.sshd, "-D", "-f", str(root / "config")]
        self.daemons[node.name] = subprocess.Popen(
            [*argv, "-E", str(root / "log")], start_new_session=True, stdin=subprocess.DEVNULL
        )
        while not (root / "pid").exists():
            if self.daemons[node.name].poll() is not None:
                raise RuntimeError((root / "log").read_text())

    def exec(self, node: LabNode, command: str, *, stdin: str = "", timeout: float = 60) -> CommandResult:
        """Runs as a login would, without the network."""
        root = self.folder / node.name
        home = pwd.getpwuid(os.getuid()).pw_dir
        env = {"HOME": home, "USER": node.user, "SSH_ORIGINAL_COMMAND": command}
        env["PATH"] = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        pipes = {"input": stdin, "capture_output": True, "text": True}
        done = subprocess.run([str(root / "login")], env=env, timeout=timeout, check=False, **pipes)
        code = 128 - done.returncode if done.returncode < 0 else done.returncode
        return CommandResult(code, done.stdout, done.stderr)

    def _family(self, node: LabNode) -> list[int]:
        """The daemon and everything it started, oldest first."""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(stat.parent.name)] = int(fields[1])
        family = [self.daemons[node.name].pid]
        for pid in family:
            family += [child for child, parent in parents.items() if parent == pid]
        return family

    def _signal(self, node: LabNode, number: signal.Signals) -> None:
        for pid in self._family(node):
            with suppress(ProcessLookupError):  # a session may end meanwhile
                os.kill(pid, number)

    def crash(self, node: LabNode) -> None:
        self._signal(node, signal.SIGKILL)
        self.daemons[node.name].wait(60)

    def cut(self, node: LabNode) -> None:
        self._signal(node, signal.SIGSTOP)

    def join(self, node: LabNode) -> None:
        self._signal(node, signal.SIGCONT)

    def slow(self, node: LabNode, delay_ms: float, loss: float) -> None:
        raise RuntimeError("a link of a lab without root cannot be slowed")

    def restart(self, node: LabNode) -> None:
        if self.daemons[node.name].poll() is None:
            self.crash(node)
        (self.folder / node.name / "pid").unlink(missing_ok=True)
        self._boot(node)

    def new_host_key(self, node: LabNode) -> None:
        root = self.folder / node.name
        self.crash(node)
        for name in ("key", "key.pub", "pid"):
            (root / name).unlink(missing_ok=True)
        _keygen(root / "key")
        self._boot(node)

    def close(self) -> None:
        for node in self.nodes:
            if node.name in self.daemons and self.daemons[node.name].poll() is None:
                self.crash(node)


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)], check=True)


def _free_port(count: int) -> int:
    """A port that is free on every node's address."""
    for _ in range(100):
        port = 20000 + secrets.randbelow(10000)
        try:
            for i in range(1, count + 1):
                with socket.socket() as probe:
                    probe.bind((f"127.0.0.{i + 1}", port))
        except OSError:
            continue
        return port
    raise RuntimeError("no free port on loopback")
