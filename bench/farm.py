"""Plain sshd nodes on loopback for measurements: one daemon, one address and one host key each; no view of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmctl.remote.inventory import Entry, save_inventory

PORT_TRIES = range(21022, 21122)


@dataclass(frozen=True)
class Farm:
    """Running nodes and what a client needs to log in to them."""

    names: tuple[str, ...]
    home: Path
    """LLMCTL_HOME with the key, the verified host keys and the inventory."""
    ssh_config: Path
    """The same for OpenSSH: no file of the person is read."""


@contextmanager
def farm(folder: Path, count: int, *, alone: bool = False) -> Iterator[Farm]:
    """Bring up `count` nodes whose names are their addresses; they end with the block. As root they read no ~/.bashrc:
    what that starts would be measured too. `alone`: each sees no processes but its own, which end with it. Needs root.

    Raises RuntimeError where sshd is missing or does not start."""
    sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if sshd is None:
        raise RuntimeError("sshd is not installed (package openssh-server)")
    names = tuple(f"127.0.{1 + i // 250}.{1 + i % 250}" for i in range(count))
    port = next(port for port in PORT_TRIES if all(_free(name, port) for name in names))
    home = folder / "home"
    home.mkdir(mode=0o700)
    _keygen(home / "id_ed25519")
    shutil.copy(home / "id_ed25519.pub", folder / "authorized_keys")
    known = []
    with ExitStack() as stack:
        for name in names:
            _keygen(folder / f"{name}-key")
            kind, blob = (folder / f"{name}-key.pub").read_text(encoding="utf-8").split()[:2]
            known.append(f"[{name}]:{port} {kind} {blob}\n")
            config = folder / f"{name}-config"
            config.write_text(_sshd_config(folder, name, port), encoding="utf-8")
            log = stack.enter_context((folder / f"{name}-log").open("w"))
            argv = [*_private_run(alone=alone), sshd, "-D", "-e", "-f", str(config)]
            daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
            stack.callback(_end, daemon)
        (home / "known_hosts").write_text("".join(known), encoding="utf-8")
        for name in names:
            _await(name, port, folder / f"{name}-log")
        user = getpass.getuser()
        save_inventory({name: Entry(address=name, user=user, port=port) for name in names}, home / "nodes.yaml")
        config = folder / "ssh_config"
        config.write_text(_client_config(home, port, user), encoding="utf-8")
        yield Farm(names, home, config)


def _private_run(*, alone: bool) -> list[str]:
    """What a daemon is started under. As root it needs /run/sshd, which is not made on the machine for this."""
    # The client has a machine of its own in life: here all the nodes together are not to keep it from running.
    dies_with_us = ["nice", "-n", "5", "setpriv", "--pdeathsig", "KILL", "--"]
    if os.geteuid() != 0:
        return dies_with_us
    spaces = ["-m", "-p", "-f", "--mount-proc", "--kill-child"] if alone else ["-m"]
    mounts = "mount -t tmpfs run /run && mkdir /run/sshd && { [ ! -e ~/.bashrc ] || mount --bind /dev/null ~/.bashrc; }"
    return [*dies_with_us, "unshare", *spaces, "sh", "-c", f'{mounts} && exec "$@"', "sh"]


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.kill()
    daemon.wait()


def _sshd_config(folder: Path, address: str, port: int) -> str:
    """OpenSSH's own choice of key exchange; only the files are ours."""
    lines = {
        "ListenAddress": f"{address}:{port}",
        "HostKey": folder / f"{address}-key",
        "PidFile": "none",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PermitRootLogin": "yes",
        "StrictModes": "no",
        "UsePAM": "no",
        "UseDNS": "no",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())


def _client_config(home: Path, port: int, user: str) -> str:
    lines = {
        "Port": port,
        "User": user,
        "IdentityFile": home / "id_ed25519",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": home / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    return "Host *\n" + "".join(f"    {key} {value}\n" for key, value in lines.items())


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(path)], check=True)


def _free(address: str, port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind((address, port))
        except OSError:
            return False
        return True


def _await(address: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"sshd on {address} does not listen: {log.read_text(encoding='utf-8')}")
