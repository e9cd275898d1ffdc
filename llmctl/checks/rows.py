"""The rows of the check: what is read on a node, by which command, how it is judged. Data only.

Modes: `eq` must be the same on all nodes; `ok` is judged on each node by itself; `told` is only told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmctl.checks import parsers
from llmctl.checks.facts import Severity

GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the run needs, for rows of mode `ok`."""

    slots: Mapping[str, int] = field(default_factory=dict)
    """Devices by node; empty when only nodes were named."""
    disk: int = 0
    """Bytes that staging will write."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """All values of the node that is judged, by name."""


Complaint = tuple[Severity, str] | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row. `run` is sh (bash with `env`); `parse` makes the value of its output, ValueError is unknown."""

    name: str
    run: str
    parse: Callable[[str], Any]
    mode: Literal["eq", "ok", "told"] = "eq"
    severity: Severity = Severity.ERROR
    env: bool = False
    """Read in the environment that `cluster.activate` makes."""
    grade: Callable[[list[Any]], Severity] | None = None
    """Mode eq: how bad these different values are; without it `severity`."""
    judge: Callable[[Any, str, Wanted], Complaint] | None = None
    """(value, node, wanted) -> complaint; for mode `eq` besides the comparison."""
    must: str = ""
    """What is said, as an error, where the value cannot be read; without it that is a warning."""
    needed: bool = False
    """With a recipe, a node on which it cannot be read blocks the run."""
    first_only: bool = False
    """Asked on the first node alone."""
    remedy: str = ""


def first_file(*paths: str) -> str:
    """A command that prints the first file that can be read; paths may hold globs and variables."""
    tries = " ".join(paths)
    return f'for f in {tries}; do [ -r "$f" ] && {{ cat "$f"; exit; }}; done; echo "none of: "{tries} >&2; exit 1'


def minor_differs(values: list[Any]) -> Severity:
    """Another x.y of x.y.z is an error, another z a warning."""
    return Severity.ERROR if len({tuple(str(v).split(".")[:2]) for v in values}) > 1 else Severity.WARNING


def major_differs(values: list[Any]) -> Severity:
    """NVIDIA drivers: another branch is an error, another patch level a warning."""
    return Severity.ERROR if len({str(v).split(".")[0] for v in values}) > 1 else Severity.WARNING


def _shared_memory(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    size = value["size"]
    if size < 128 * 1024**2:
        return Severity.ERROR, f"{size / 1024**2:.0f} MiB of shared memory, the collectives need at least 128"
    return (Severity.WARNING, f"{size / 1024**2:.0f} MiB of shared memory, less than 1 GiB") if size < GIB else None


def _limits(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    files = value["open_files"]
    if files is not None and files < 4096:
        return Severity.WARNING, f"only {files} open files in an ssh session"
    return None


def _disk(value: Any, _node: str, wanted: Wanted) -> Complaint:
    free, size = value["free"], value["size"]
    if free < wanted.disk:
        return Severity.ERROR, f"{free / 1024**2:.0f} MiB free, staging needs {wanted.disk / 1024**2:.0f}"
    if size and free < size / 10:
        return Severity.WARNING, f"{free / GIB:.1f} GiB free, less than a tenth of the disk"
    return None


def _tmp(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    free = value["free"]
    return (Severity.WARNING, f"only {free / 1024**2:.0f} MiB free for temporary files") if free < GIB / 4 else None


def _cores(value: Any, node: str, wanted: Wanted) -> Complaint:
    slots = wanted.slots.get(node, 0)
    return (Severity.WARNING, f"has {value} cores for {slots} processes") if value < slots else None


def _pdsh(value: Any, _node: str, _wanted: Wanted) -> Complaint:
    return None if value["ssh"] else (Severity.ERROR, f"pdsh {value['version']} cannot use ssh")


def host_rows(workdir: str | None, *, pdsh: bool) -> list[Row]:
    """What every node is asked, whatever its devices."""
    place = _nearest(workdir or "/tmp")  # noqa: S108 - only its free space is read
    rows = [
        Row(name="os.arch", run="uname -m", parse=parsers.text, remedy="nodes of one run need one architecture"),
        Row(name="os.release", run="cat /etc/os-release", parse=parsers.os_release, severity=Severity.INFO),
        Row(name="os.kernel", run="uname -r", parse=parsers.text, severity=Severity.INFO),
        Row(name="os.glibc", run="getconf GNU_LIBC_VERSION", parse=parsers.text, severity=Severity.WARNING),
        Row(name="user.name", run="id -un", parse=parsers.text, severity=Severity.WARNING),
        Row(name="user.id", run="id -u", parse=parsers.number, severity=Severity.WARNING),
        Row(name="user.home", run='echo "$HOME"', parse=parsers.text, severity=Severity.WARNING),
        Row(name="network.hostname", run="hostname", parse=parsers.text, mode="told"),
        Row(name="network.addresses", run="ip -j addr", parse=parsers.addresses, mode="told"),
        Row(
            name="host.shm", run="df -PB1 /dev/shm", parse=parsers.free_space, mode="ok", judge=_shared_memory,
            remedy="containers: start with --shm-size=16g; hosts: mount -o remount,size=16G /dev/shm",
        ),
        Row(
            name="host.limits", run="ulimit -l; ulimit -n", parse=parsers.limits, mode="ok", judge=_limits,
            remedy="raise nofile in /etc/security/limits.conf, then log in again",
        ),
        Row(
            name="disk.workdir", run=f"df -PB1 {place}", parse=parsers.free_space, mode="ok", judge=_disk,
            remedy="free space, or choose another cluster.workdir",
        ),
        Row(
            name="disk.tmp", run='df -PB1 "${TMPDIR:-/tmp}"', parse=parsers.free_space, mode="ok", judge=_tmp,
            remedy="free space there: caches and sockets of the run lie in it",
        ),
        Row(
            name="host.cores", run="nproc", parse=parsers.number, severity=Severity.INFO, judge=_cores,
            remedy="lower cluster.devices_per_node",
        ),
    ]  # fmt: skip
    if pdsh:
        rows.append(
            Row(name="pdsh", run="pdsh -V 2>&1", parse=parsers.pdsh, mode="ok", judge=_pdsh, first_only=True,
                must="pdsh cannot be run",
                remedy="install pdsh with its ssh module on the first node, or use launch.backend: ssh")
        )  # fmt: skip
    return rows


def _nearest(path: str) -> str:
    from llmctl.quoting import sh_quote

    return f'"$(p={sh_quote(path)}; while [ ! -e "$p" ]; do p=$(dirname "$p"); done; echo "$p")"'


CORE_PACKAGES = ("torch", "torch-npu", "torch-tpu", "deepspeed", "transformers", "accelerate", "peft")
"""Another version of one of these on one node changes or stops the run."""
