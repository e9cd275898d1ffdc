"""Judging the launcher as a host: its name, clock, disks and limits."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from llmctl.workflows.doctor_values import BAD, WARN, Disk, Machine, Row, row

MIB = 1024 * 1024


def hostname(m: Machine) -> Iterable[Row]:
    outward = m.outward or "ADDRESS"
    line = f"{outward} {m.hostname}"
    if not m.addresses:
        yield row("hostname", f"{m.hostname} resolves to nothing", WARN, f"write into /etc/hosts: {line}")
    elif all(_loopback(address) for address in m.addresses):
        yield row(
            "hostname", f"{m.hostname} resolves to {', '.join(m.addresses)}, where no other machine reaches it", WARN,
            f"if this machine is a node of a run too, write into /etc/hosts instead: {line}",
        )  # fmt: skip
    else:
        yield row("hostname", f"{m.hostname} resolves to {', '.join(m.addresses)}")


def _loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def clock(m: Machine) -> Iterable[Row]:
    if m.synchronised is None:
        yield row("clock", "the system does not tell whether it is synchronised", WARN, "timedatectl")
    elif m.synchronised:
        yield row("clock", "synchronised")
    else:
        yield row("clock", "nobody keeps it right", WARN, "sudo timedatectl set-ntp true, or install chrony")


def disks(m: Machine) -> Iterable[Row]:
    for disk in m.disks:
        yield _disk(disk)


def _disk(disk: Disk) -> Row:
    if disk.error:
        return row(
            disk.what, f"{disk.path}: {disk.error}", BAD, "choose another place: --runs DIR, LLMCTL_HOME, TMPDIR"
        )
    free = f"{disk.free / MIB / 1024:.1f} GiB" if disk.free >= 1024 * MIB else f"{disk.free / MIB:.0f} MiB"
    found = f"{free} free at {disk.path}"
    if not disk.writable:
        elsewhere = {"disk.runs": "--runs DIR or LLMCTL_RUNS", "disk.home": "LLMCTL_HOME", "disk.tmp": "TMPDIR"}
        return row(disk.what, f"{disk.path} cannot be written to", BAD, f"choose another place: {elsewhere[disk.what]}")
    if disk.inodes is not None and disk.inodes < 1000:
        return row(
            disk.what, f"{found}, but only {disk.inodes} inodes", BAD, f"remove files: df -i {shlex.quote(disk.path)}"
        )
    if disk.free < 100 * MIB:
        return row(disk.what, found, BAD, f"make room: du -xh {shlex.quote(disk.path)} | sort -h | tail")
    if disk.free < 1024 * MIB:
        return row(disk.what, found, WARN, "logs and records of runs are collected here; make room soon")
    return row(disk.what, found)


def open_files(m: Machine) -> Iterable[Row]:
    found = f"{m.open_files} at once" if m.open_files >= 0 else "without limit"
    if 0 <= m.open_files < 256:
        yield row("open_files", found, BAD, "a connection to a node needs one: ulimit -n 4096")
    elif 0 <= m.open_files < 1024:
        yield row("open_files", found, WARN, "enough for few nodes: ulimit -n 4096")
    else:
        yield row("open_files", found)
