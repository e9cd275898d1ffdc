"""What Slurm says of a job, and what that means for a run. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from llmctl.launch.supervised import NodeReport
from llmctl.run.states import State

WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
ENDS: Mapping[str, State] = {
    "COMPLETED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "TIMEOUT": State.FAILED,
    "DEADLINE": State.FAILED,
    "OUT_OF_MEMORY": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "REVOKED": State.CANCELLED,
    "NODE_FAIL": State.LOST,
    "BOOT_FAIL": State.LOST,
    "PREEMPTED": State.LOST,
}
"""Slurm's final states. Any other is of a job that still has processes, or nodes."""
WORDS: Mapping[str, str] = {
    "TIMEOUT": "the time limit was reached (launch.slurm.time_limit)",
    "DEADLINE": "its deadline passed before it could end",
    "OUT_OF_MEMORY": "it used more memory than it had asked for (--mem in launch.slurm.args)",
    "NODE_FAIL": "a node failed",
    "BOOT_FAIL": "a node did not boot",
    "PREEMPTED": "another job took its nodes",
}
PAUSE = 120.0
"""Seconds that Slurm makes a job wait after a requeue."""
CLEARING = 10.0
"""Seconds of them that are left to the nodes."""
FRESH = 12.0
"""Seconds; a younger heartbeat on the shared file system says that the run runs, without troubling Slurm."""
FIELDS = re.compile(r"(?<!\S)(JobState|Reason|Restarts|ExitCode|NodeList|EligibleTime|Now)=(\S*)")


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """A job as Slurm tells it."""

    state: str
    """Slurm's own word: `PENDING`, `NODE_FAIL`."""
    reason: str = ""
    """Why it waits, or why it ended; empty for none."""
    exit_code: int | None = None
    """128+n for signal n."""
    restarts: int = 0
    nodes: str = ""
    eligible: str = ""
    """Before when it does not start, and the time of the answer, both as Slurm writes times: `2026-11-21T13:55:00`."""
    now: str = ""

    @property
    def ended(self) -> State | None:
        """The state of a run whose job has ended; None before."""
        return ENDS.get(self.state)

    @property
    def waits(self) -> bool:
        """Whether it is in the queue."""
        return self.state in WAITING

    @property
    def held_back(self) -> bool:
        """Whether it may not start yet because of the pause after a requeue, though its nodes had time to clear up: a
        job that comes back while a node still ends its last start fails there."""
        if self.state != "PENDING" or not self.restarts or not self.now < self.eligible < "3":
            return False
        left = datetime.fromisoformat(self.eligible) - datetime.fromisoformat(self.now)
        return left.total_seconds() <= PAUSE - CLEARING


def read_scontrol(text: str) -> SlurmJob | None:
    """A job from `scontrol show job -o`, with the time as `Now=`; None where there is none."""
    found = dict(FIELDS.findall(text.strip()))
    if "JobState" not in found:
        return None
    return SlurmJob(
        state=found["JobState"],
        reason="" if found.get("Reason") in (None, "None") else found["Reason"],
        exit_code=exit_code(found.get("ExitCode", "")),
        restarts=int(found.get("Restarts") or 0),
        nodes="" if found.get("NodeList") in (None, "(null)") else found["NodeList"],
        eligible=found.get("EligibleTime", "") if "Now" in found else "",
        now=found.get("Now", ""),
    )


def read_sacct(text: str) -> SlurmJob | None:
    """A job from `sacct -nPX -o State,ExitCode,NodeList`, the newest line last; None where there is none."""
    lines = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
    if not lines:
        return None
    state, code, nodes = lines[-1]
    return SlurmJob(state=state.split()[0] if state else "", exit_code=exit_code(code), nodes=nodes)


def read_jobcomp(text: str) -> SlurmJob | None:
    """A job from a line that jobcomp/filetxt wrote, the newest last; None where there is none."""
    lines = [line for line in text.splitlines() if line.startswith("JobId=")]
    return read_scontrol(lines[-1]) if lines else None


def exit_code(text: str) -> int | None:
    """Slurm's `3:0` or `0:9` as a shell has it; None for anything else."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        return None
    code, signum = int(match[1]), int(match[2])
    return 128 + signum if signum else code


def is_fresh(report: NodeReport) -> bool:
    """Whether the node's own word is enough: its supervisor lives."""
    beat = report.heartbeat
    return report.state is State.RUNNING and beat is not None and report.clock - beat < FRESH


def judge(report: NodeReport, job: SlurmJob | None, *, first: bool) -> NodeReport:
    """What a node's files tell, put right by what Slurm knows of the job; `first` also tells the job's own news. A
    failure counts when the job has ended: until then Slurm may start it again."""
    if job is None:  # Slurm has forgotten it: what the nodes wrote down is all there is
        lost = report.state in (State.RUNNING, None)
        return replace(report, state=State.LOST if lost else report.state)
    if job.ended is None:
        told = f"waits in Slurm's queue: {job.reason or job.state}" if job.waits and first else ""
        state = State.PENDING if job.waits else State.RUNNING
        return replace(report, state=state, exit_code=None, ended=None, errors=(), trouble=told)
    told = f"Slurm says {job.state}" + (f": {WORDS[job.state]}" if job.state in WORDS else "") if first else ""
    if job.ended in (State.SUCCEEDED, State.CANCELLED):
        return replace(report, state=job.ended, trouble="")
    silent = report.state in (State.RUNNING, None)  # its supervisor could not write down an end
    if job.ended is State.LOST:
        state = State.LOST if silent or job.state == "PREEMPTED" else State.FAILED
    else:
        state = State.FAILED
    code = report.exit_code if report.exit_code not in (None, 0) else job.exit_code
    return replace(report, state=state, exit_code=code, trouble=told)
