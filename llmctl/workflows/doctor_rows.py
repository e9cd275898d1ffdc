"""Judging what was read on the launcher: a function a group of rows, all of them pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from llmctl.workflows.doctor_files import keys, known, records, ssh_files
from llmctl.workflows.doctor_host import clock, disks, hostname, open_files
from llmctl.workflows.doctor_tools import agent, arguments, pdsh, python, ssh
from llmctl.workflows.doctor_values import Machine, Row

Judge = Callable[[Machine], Iterable[Row]]
JUDGES: tuple[Judge, ...] = (
    python,
    ssh,
    pdsh,
    arguments,
    agent,
    keys,
    ssh_files,
    known,
    records,
    hostname,
    clock,
    disks,
    open_files,
)


def judge(machine: Machine) -> list[Row]:
    """All rows, in the order of the table."""
    return [row for look in JUDGES for row in look(machine)]
