"""Process 1 of one node: gives it its own network, files and sshd, then waits for its orphans.

Runs in fresh mount, pid, network, host name and ipc namespaces with one argument, a JSON file; a second argument,
`again`, says that the mount namespace is the one of before. It prints `net` when the network namespace stands and
reads one line when the cable is plugged in; it prints `up` when sshd listens.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

STATE = Path("/run/lab")
PROGRAM = Path(__file__).read_text(encoding="utf-8")
"""This file, read while it is in sight; a restarted node needs it again."""


def sh(*command: str) -> None:
    subprocess.run(command, check=True)


def kept(paths: list[str]) -> list[tuple[Path, Path]]:
    """Hold each folder that must survive the hiding; gives (held at, belongs at)."""
    pairs = []
    for number, path in enumerate(paths):
        held = STATE / f"keep{number}"
        held.mkdir()
        sh("mount", "--rbind", path, str(held))
        pairs.append((held, Path(path)))
    return pairs


def own_files(spec: dict) -> None:
    """Private /run, /etc, /usr, /opt, /var, /tmp, /dev/shm and home; the checkout out of sight."""
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "proc", "proc", "/proc")
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    STATE.mkdir()
    STATE.chmod(0o700)
    (STATE / "init.py").write_text(PROGRAM)
    (STATE / "spec.json").write_text(json.dumps(spec))
    Path("/run/sshd").mkdir(mode=0o755)
    pairs = kept(spec["keep"])
    for name in ("etc", "usr", "opt", "var"):
        upper, work = STATE / name, STATE / f".{name}"
        upper.mkdir()
        work.mkdir()
        sh("mount", "-t", "overlay", name, "-o", f"lowerdir=/{name},upperdir={upper},workdir={work}", f"/{name}")
    sh("mount", "-t", "tmpfs", "-o", "size=2g,mode=1777", "shm", "/dev/shm")
    for folder in spec["hide"]:
        Path(folder).mkdir(parents=True, exist_ok=True)
        mode = {"/tmp": "1777", "/home": "755"}.get(folder, "700")
        sh("mount", "-t", "tmpfs", "-o", f"size={spec['disk_mb']}m,mode={mode}", "private", folder)
    for held, place in pairs:
        place.mkdir(parents=True, exist_ok=True)
        sh("mount", "--move", str(held), str(place))
    for name, text in spec["files"].items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600 if name in spec["secret"] else 0o644)
    sh("mount", "--bind", "/etc/hosts", "/etc/hosts")  # as in containers: a file that cannot be renamed over


def after_boot() -> None:
    """What a machine forgets: processes, memory, /run; and its kernel gives another boot id."""
    sh("mount", "-t", "proc", "proc", "/proc")
    Path("/run/sshd.pid").unlink(missing_ok=True)
    sh("mount", "-t", "tmpfs", "-o", "size=2g,mode=1777", "shm", "/dev/shm")
    (STATE / "boot_id").write_text(f"{uuid.uuid4()}\n")
    sh("mount", "--bind", str(STATE / "boot_id"), "/proc/sys/kernel/random/boot_id")


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sh("hostname", spec["name"])
    print("net", flush=True)
    if sys.stdin.readline() != "plugged\n":
        sys.exit("the lab went away")
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "addr", "add", f"{spec['address']}/24", "dev", "eth0")
    sh("ip", "link", "set", "eth0", "up")
    if sys.argv[2:] == ["again"]:
        after_boot()
    else:
        own_files(spec)
    os.chdir("/")
    sh(spec["sshd"], "-f", "/etc/ssh/lab_config", "-E", "/var/log/sshd.log")
    await_sshd()
    print("up", flush=True)
    signal.signal(signal.SIGCHLD, reap)
    while True:
        time.sleep(1)


def await_sshd() -> None:
    """Wait until it listens: it writes its file then, after the command that started it has ended."""
    deadline = time.monotonic() + 60
    while not Path("/run/sshd.pid").exists():
        if time.monotonic() > deadline:
            sys.exit("sshd does not listen: " + Path("/var/log/sshd.log").read_text())
        time.sleep(0.02)


def reap(*_: object) -> None:
    """Collect every orphan that ended: as process 1 they are ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


main()
