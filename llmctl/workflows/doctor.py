"""`llmctl doctor`: whether the launcher's own machine is fit."""

from __future__ import annotations

from pathlib import Path

from llmctl.run.index import runs_folder
from llmctl.workflows.doctor_machine import read_machine
from llmctl.workflows.doctor_rows import judge
from llmctl.workflows.doctor_values import Row


def doctor(runs: Path | None) -> list[Row]:
    """Read this machine and judge it. Nothing is changed, no node is asked, no packet is sent."""
    return judge(read_machine(runs_folder(runs)))
