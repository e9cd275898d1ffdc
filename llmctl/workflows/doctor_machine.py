"""Reading the launcher's own machine for `llmctl doctor`; nothing is judged and nothing is changed here."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from llmctl import __version__
from llmctl.errors import LlmctlError
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import resolve
from llmctl.remote.hostkeys import own_known_hosts
from llmctl.remote.inventory import inventory_path, load_inventory
from llmctl.remote.login import own_key
from llmctl.resources import home_dir
from llmctl.run.index import entries
from llmctl.workflows.doctor_values import Answer, Disk, FileState, Machine

TOOL_TIMEOUT = 10.0
PDSH_NAMES = ("FANOUT", "WCOLL", "DSHPATH")
ENGINE_PACKAGES = ("torch", "transformers", "deepspeed")
STA_UNSYNC = 0x40
"""The kernel's own mark for a clock that nobody keeps right (adjtimex)."""


def read_machine(runs: Path) -> Machine:
    """Everything that the doctor judges. `runs` is where new runs would lie."""
    requirements = _requirements()
    home, ssh = home_dir(), Path.home() / ".ssh"
    own = [inventory_path(), own_known_hosts(), home / "runs.json"]
    inventory, inventory_error = _counted(lambda: len(load_inventory()))
    known_runs, runs_error = _counted(lambda: len(entries()))
    names = (name for name in os.environ if name.startswith("PDSH_") or name in PDSH_NAMES)
    hostname = socket.gethostname()
    return Machine(
        version=__version__,
        executable=sys.executable,
        python=sys.version_info[:3],
        requirements=requirements,
        packages={name: _version(name) for name in (*requirements, *ENGINE_PACKAGES)},
        ssh=_ask("ssh", "-V"),
        ssh_keygen=shutil.which("ssh-keygen") is not None,
        pdsh=_ask("pdsh", "-V"),
        agent_socket=os.environ.get("SSH_AUTH_SOCK") or None,
        agent=_ask("ssh-add", "-l") if os.environ.get("SSH_AUTH_SOCK") else Answer(None),
        pdsh_environment={name: os.environ[name] for name in sorted(names)},
        environment_bytes=sum(len(os.fsencode(f"{key}={value}")) + 9 for key, value in os.environ.items()),
        argument_bytes=os.sysconf("SC_ARG_MAX"),
        one_argument_bytes=32 * os.sysconf("SC_PAGE_SIZE"),
        home=_file(home),
        own_key=_file(own_key()),
        own_files=tuple(_file(path) for path in own),
        ssh_folder=_file(ssh),
        ssh_keys=tuple(_file(path) for path in sorted(ssh.glob("id_*")) if path.suffix != ".pub"),
        ssh_config=_text(ssh / "config"),
        ssh_config_error=_counted(lambda: resolve(Node(name="node1"), inventory={}).port)[1],
        own_known_hosts=_text(own_known_hosts()),
        user_known_hosts=_text(ssh / "known_hosts"),
        inventory=inventory,
        inventory_error=inventory_error,
        runs=known_runs,
        runs_error=runs_error,
        hostname=hostname,
        addresses=_addresses(hostname),
        outward=_outward(),
        synchronised=_synchronised(),
        disks=(_disk("disk.runs", runs), _disk("disk.home", home), _disk("disk.tmp", Path(tempfile.gettempdir()))),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _ask(*argv: str) -> Answer:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=TOOL_TIMEOUT,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return Answer(None)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(str(error), code=-1)
    return Answer((done.stdout + done.stderr).strip(), code=done.returncode)


def _requirements() -> dict[str, str]:
    """What llmctl's own metadata asks for, without the extras; empty where it runs without being installed."""
    try:
        lines = metadata.requires("llmctl") or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)", line) for line in lines if "extra ==" not in line)
    return {match[1]: match[2] for match in found if match}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _counted(count: Callable[[], int]) -> tuple[int, str]:
    """A number, or what is wrong with the file that it would come from."""
    try:
        return count(), ""
    except LlmctlError as error:
        return 0, str(error)


def _file(path: Path) -> FileState:
    try:
        found = path.stat()
    except OSError:
        return FileState(path=str(path))
    mode = stat.S_IMODE(found.st_mode)
    return FileState(path=str(path), exists=True, mode=mode, own=found.st_uid == os.geteuid())


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _addresses(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _outward() -> str | None:
    """The address that packets to other machines would carry; none is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that the Internet reserves for examples
            return str(probe.getsockname()[0])
        except OSError:
            return None


def _synchronised() -> bool | None:
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    timex = (ctypes.c_long * 64)()  # struct timex is 208 bytes; its first word is 0: only read
    try:
        code = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    return None if code < 0 else not timex[5] & STA_UNSYNC


def _disk(what: str, path: Path) -> Disk:
    """The file system of `path`, or of the nearest folder above it that exists."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError as error:
        return Disk(what=what, path=str(path), error=str(error))
    return Disk(
        what=what,
        path=str(path),
        free=found.f_bavail * found.f_frsize,
        inodes=found.f_favail if found.f_files else None,
        writable=os.access(place, os.W_OK | os.X_OK),
    )
