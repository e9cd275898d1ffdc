"""A supervisor on this machine, with a launcher of a test's own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmctl.launch import supervised
from llmctl.launch.supervised import Job, NodeReport
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.resources import onnode_file
from llmctl.run.states import State

HERE = LocalTransport(Node(name="here"))


def make_job(folder: Path, script: str) -> Job:
    """A run folder with the supervisor and `launch.sh`."""
    folder.mkdir()
    (folder / "launch.sh").write_text(script)
    (folder / "supervisor.py").write_bytes(onnode_file("supervisor.py").read_bytes())
    run_id = f"{folder.name}-{os.getpid()}-{time.monotonic_ns()}"
    return Job(run_id=run_id, run_dir=str(folder), nodes=("here",), python=sys.executable, shell="sh")


def start(job: Job) -> None:
    """Start it here."""
    (outcome,) = supervised.start(job, {"here": HERE}, ["here"])
    assert outcome.error is None, outcome.error


def state_of(job: Job) -> dict[str, Any]:
    """The state file."""
    told: dict[str, Any] = json.loads((Path(job.run_dir) / "state" / "here.json").read_text())
    return told


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until `condition` gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def until(job: Job, done: Callable[[NodeReport], bool]) -> NodeReport:
    """Ask the node until `done`."""
    deadline = time.monotonic() + 60
    while True:
        report = supervised.poll(job, HERE, {})
        if done(report):
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.1)


def ended(report: NodeReport) -> bool:
    """Whether the node says that it is over."""
    return report.state not in (State.RUNNING, None)


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
