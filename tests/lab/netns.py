"""Nodes as namespaces (root): own network, processes, host name, files; everything dies with its parent."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from llmctl.remote.transport import CommandResult
from tests.lab.lab import CHECKOUT, LabNode
from tests.lab.sshd import config

INIT = Path(__file__).with_name("init.py")
INIT_AGAIN = ("/run/lab/init.py", "/run/lab/spec.json", "again")
SLOWLINK = (sys.executable, "-I", "-S", str(Path(__file__).with_name("slowlink.py")))
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
NODE_ENV = ("env", "-i", "HOME=/root", "USER=root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def quiet(*command: str) -> bool:
    """Whether the command succeeds; its output is dropped."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def ip(*words: str, inside: int | None = None) -> None:
    """Run `ip`, in the network namespace of process `inside` when given."""
    enter = ("nsenter", "-t", str(inside), "-n") if inside else ()
    done = subprocess.run([*enter, "ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@dataclass
class Namespaces:
    """The bridge lies in a network namespace of its own, so that the machine's packet filter has no say between
    nodes and nothing is left when the process that holds it dies."""

    nodes: tuple[LabNode, ...]
    password: str | None
    token: str
    folder: Path
    switch: subprocess.Popen[str]
    lease: socket.socket
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    mounts: dict[str, int] = field(default_factory=dict)
    """An open mount namespace by node: its files outlive its processes."""
    slow_links: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @classmethod
    def start(
        cls, folder: Path, count: int, *, sshd: str, disk_mb: int, shared: Path | None, password: str
    ) -> Namespaces:
        lease, net = _lease_network()
        token = secrets.token_hex(3)
        nodes = tuple(LabNode(f"node{i}", f"{net}.{i}") for i in range(1, count + 1))
        switch = _spawn(folder / "switch.log", "unshare", "-n", "sh", "-c", "echo net; exec cat >/dev/null")
        site = cls(nodes, password, token, folder, switch, lease)
        try:
            _expect(switch, "net", folder / "switch.log")
            ip("link", "add", "name", "sw", "type", "bridge", inside=switch.pid)
            ip("link", "set", "sw", "up", inside=switch.pid)
            site._plug("ll" + token, "up0", f"{net}.254/24")
            for node in nodes:
                spec = _spec(folder, node, nodes, sshd, disk_mb, shared, password)
                site._boot(node, "-m", "--propagation", "private", init=(str(INIT), str(spec)))
            for node in nodes:
                site._plug_node(node)
            for node in nodes:
                _expect(site.running[node.name], "up", folder / f"{node.name}.log")
                site.mounts[node.name] = os.open(f"/proc/{site.running[node.name].pid}/ns/mnt", os.O_RDONLY)
        except BaseException:
            site.close()
            raise
        return site

    def _plug(self, outside: str, inside: str, address: str) -> None:
        """Connect the launcher with the bridge."""
        ip("link", "add", "name", outside, "type", "veth", "peer", "name", inside, "netns", str(self.switch.pid))
        ip("link", "set", inside, "master", "sw", "up", inside=self.switch.pid)
        ip("addr", "add", address, "dev", outside)
        ip("link", "set", outside, "up")

    def _boot(self, node: LabNode, *unshare: str, init: tuple[str, ...], enter: tuple[str, ...] = ()) -> None:
        """Start `init`, a node's first process; its network has no cable yet."""
        own = ("unshare", *unshare, "-u", "-i", "-n", "-p", "-f", "--kill-child")
        kept = tuple(self.mounts.values())
        self.running[node.name] = _spawn(
            self.folder / f"{node.name}.log", *enter, *own, sys.executable, "-I", "-S", *init, pass_fds=kept
        )

    def _plug_node(self, node: LabNode) -> None:
        """Connect a node that has just been started with the bridge."""
        process, link = self.running[node.name], self._link(node)
        _expect(process, "net", self.folder / f"{node.name}.log")
        # What an earlier life left goes away by itself, but late; a machine's own address outlives its restart.
        quiet("nsenter", "-t", str(self.switch.pid), "-n", "ip", "link", "del", link)
        hardware = f"02:00:00:00:00:{self.nodes.index(node) + 1:02x}"
        ends = ("name", link, "type", "veth", "peer", "name", "eth0", "address", hardware, "netns", str(process.pid))
        ip("link", "add", *ends, inside=self.switch.pid)
        ip("link", "set", link, "master", "sw", "up", inside=self.switch.pid)
        assert process.stdin is not None
        process.stdin.write("plugged\n")
        process.stdin.flush()

    def restart(self, node: LabNode) -> None:
        if self.running[node.name].poll() is None:
            self.crash(node)
        self._boot(node, enter=("nsenter", f"--mount=/proc/self/fd/{self.mounts[node.name]}"), init=INIT_AGAIN)
        self._plug_node(node)
        _expect(self.running[node.name], "up", self.folder / f"{node.name}.log")

    def _init_pid(self, node: LabNode) -> int:
        pid = self.running[node.name].pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            raise RuntimeError(f"{node.name} is down")
        return int(children[0])

    def exec(self, node: LabNode, command: str, *, stdin: str = "", timeout: float = 60) -> CommandResult:
        enter = ("nsenter", "-t", str(self._init_pid(node)), "-m", "-u", "-i", "-n", "-p")
        argv = [*enter, *NODE_ENV, "sh", "-c", 'cd && exec sh -c "$1"', "sh", command]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        code = 128 - done.returncode if done.returncode < 0 else done.returncode
        return CommandResult(code, done.stdout, done.stderr)

    def crash(self, node: LabNode) -> None:
        process = self.running[node.name]
        os.kill(self._init_pid(node), signal.SIGKILL)
        process.wait(60)

    def _link(self, node: LabNode) -> str:
        return f"n{self.nodes.index(node) + 1}"

    def cut(self, node: LabNode) -> None:
        ip("link", "set", self._link(node), "down", inside=self.switch.pid)

    def join(self, node: LabNode) -> None:
        slow = self.slow_links.pop(node.name, None)
        if slow is not None:
            _end(slow)
            ip("link", "del", f"d{self._link(node)}", inside=self.switch.pid)
        ip("link", "set", self._link(node), "master", "sw", "up", inside=self.switch.pid)

    def slow(self, node: LabNode, delay_ms: float, loss: float) -> None:
        link, near, far = self._link(node), f"d{self._link(node)}", f"x{self._link(node)}"
        switch = self.switch.pid
        ip("link", "set", link, "nomaster", inside=switch)
        ip("link", "add", "name", near, "type", "veth", "peer", "name", far, inside=switch)
        ip("link", "set", near, "master", "sw", "up", inside=switch)
        ip("link", "set", far, "up", inside=switch)
        for pid, interface in ((switch, near), (self.running[node.name].pid, "eth0")):
            subprocess.run(["nsenter", "-t", str(pid), "-n", *SLOWLINK, "plain", interface], check=True)
        words = (*SLOWLINK, "bridge", link, far, str(delay_ms), str(loss))
        process = _spawn(self.folder / f"{node.name}.link.log", "nsenter", "-t", str(switch), "-n", *words)
        self.slow_links[node.name] = process
        _expect(process, "bridged", self.folder / f"{node.name}.link.log")

    def new_host_key(self, node: LabNode) -> None:
        done = self.exec(
            node,
            "rm /etc/ssh/lab_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab_key && "
            "kill $(cat /run/sshd.pid) && while [ -e /run/sshd.pid ]; do sleep 0.02; done; "
            "$(command -v sshd) -f /etc/ssh/lab_config -E /var/log/sshd.log && "
            "while [ ! -e /run/sshd.pid ]; do sleep 0.02; done",
        )
        if not done.ok:
            raise RuntimeError(done.stderr)

    def close(self) -> None:
        for process in [*self.slow_links.values(), *self.running.values(), self.switch]:
            _end(process)
        for mounts in self.mounts.values():
            os.close(mounts)
        self.lease.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(60)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _spawn(log: Path, *command: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "pass_fds": pass_fds}
    with log.open("w") as stderr:
        return subprocess.Popen([*DIES_WITH_PARENT, *command], start_new_session=True, stderr=stderr, **pipes)


def _expect(process: subprocess.Popen[str], word: str, log: Path) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != word + "\n":
        raise RuntimeError(f"no {word!r} came but {line!r}: {log.read_text()}")


def _lease_network() -> tuple[socket.socket, str]:
    """A /24 of the benchmark range that no lab of this machine holds: an abstract socket is the lock, and its end
    the release."""
    out = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    for offset in range(512):
        number = (os.getpid() + offset) % 512
        net = f"198.{18 + number // 256}.{number % 256}"
        if f" {net}." in out:
            continue
        lease = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lease.bind(f"\0llmctl-lab-{net}")
        except OSError:
            lease.close()
            continue
        return lease, net
    raise RuntimeError("no free network in 198.18.0.0/15")


def _hash(password: str) -> str:
    """The password as /etc/shadow holds it, made by the library that sshd itself uses."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    made = crypt(password.encode(), b"$6$" + secrets.token_hex(8).encode() + b"$")
    return str(made.decode())


def _spec(
    folder: Path, node: LabNode, nodes: tuple[LabNode, ...], sshd: str, disk_mb: int, shared: Path | None, password: str
) -> Path:
    home = pwd.getpwuid(0).pw_dir
    hide = list(dict.fromkeys(["/tmp", tempfile.gettempdir(), home, "/home", str(CHECKOUT)]))
    wanted = [sys.prefix, sys.base_prefix, *([str(shared)] if shared else [])]
    keep = [path for path in dict.fromkeys(wanted) if any(Path(path).is_relative_to(folder) for folder in hide)]
    key = folder / f"{node.name}-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node.name, "-f", str(key)], check=True)
    shadow = Path("/etc/shadow").read_text(encoding="utf-8").splitlines(keepends=True)
    root = f"root:{_hash(password)}:20000:0:99999:7:::\n"
    files = {
        "/etc/hostname": f"{node.name}\n",
        "/etc/hosts": "127.0.0.1\tlocalhost\n",
        "/etc/shadow": root + "".join(line for line in shadow if not line.startswith("root:")),
        "/etc/ssh/lab_key": key.read_text(),
        "/etc/ssh/lab_key.pub": Path(f"{key}.pub").read_text(),
        "/etc/ssh/lab_config": config(key="/etc/ssh/lab_key", pid="/run/sshd.pid", address="0.0.0.0", port=22),
        "/usr/local/Ascend/lab": f"{node.name}\n",
    }
    spec = {
        "name": node.name,
        "address": node.address,
        "sshd": sshd,
        "disk_mb": disk_mb,
        "hide": hide,
        "keep": keep,
        "files": files,
        "secret": ["/etc/shadow", "/etc/ssh/lab_key"],
    }
    path = folder / f"{node.name}.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    path.chmod(0o600)
    return path
