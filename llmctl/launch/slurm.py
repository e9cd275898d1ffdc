"""The verbs through Slurm: a batch job whose steps are the supervisors. Nothing but the login machine is spoken to;
what the nodes tell lies in the run folder, which all of them share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmctl.errors import NodeError
from llmctl.launch.slurm_asking import Asking, look
from llmctl.launch.slurm_state import SlurmJob, is_fresh, judge
from llmctl.launch.supervised import TAIL, Job, NodeReport, call, poll
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import Outcome, fan_out, let_end
from llmctl.remote.transport import Transport
from llmctl.run.states import State

NUMBER = "slurm.job"
"""The file of the run folder that holds the number of its newest job."""
BEGUN = f"{NUMBER}.new"
"""The same while the job is handed to Slurm, and for good where that was broken off."""
SUBMITTING = 300.0
"""Seconds for handing a job to Slurm; a controller with much to do makes sbatch try again for two minutes."""
SETTLING = 3.0
"""Seconds after which an end of a job is believed."""
ENDING = 60.0
"""Seconds, beyond the grace, in which Slurm has to end a job; KillWait is 30 of them."""


@dataclass(frozen=True, kw_only=True)
class SlurmBackend:
    """A batch job with a supervisor a node. `transports` all lead to the login machine, one under each node's name."""

    _asking: Asking = field(default_factory=Asking)

    def starters(self, job: Job) -> tuple[str, ...]:
        """All nodes: each has a supervisor."""
        return job.nodes

    def submit(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, int]]:
        """Hand the batch script to Slurm; each outcome is the number of the job."""
        first = job.nodes[0]

        def one(node: str) -> int:
            done = transports[node].run(f"cd {sh_quote(job.run_dir)} && sh submit.sh", timeout=SUBMITTING)
            number = done.stdout.strip().partition(";")[0]
            if not done.ok or not number.isdigit():
                raise NodeError(
                    "Slurm does not take the job",
                    where=node,
                    why=(done.stderr.strip().splitlines() or [f"sbatch ended with {done.code}"])[-1],
                    hint="launch.slurm holds what is asked of it; submit.sh in the run folder is the command",
                )
            return int(number)

        (outcome,) = fan_out([first], one, stop=let_end)
        return [Outcome(node, value=outcome.value, error=outcome.error) for node in job.nodes]

    def status(self, job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, NodeReport]]:
        """Every node's state; None where no job was submitted."""

        def one(node: str) -> NodeReport:
            if node not in transports:
                raise NodeError("the login machine was not reached", where=node, hint="launch.slurm.login names it")
            return self._told(job, transports[node], {}, TAIL)

        return fan_out(job.nodes, one)

    def logs(self, job: Job, transport: Transport, offsets: Mapping[str, int]) -> NodeReport:
        """What a node's files hold behind `offsets`, with its state."""
        return self._told(job, transport, offsets, None)

    def cancel(self, job: Job, transports: Mapping[str, Transport], grace: float) -> list[Outcome[str, int]]:
        """End the run's job and no other, also one whose number nobody was told; each outcome is how many processes
        its supervisor ended. A node that does not tell that nothing is left is a NodeError."""
        reached = [node for node in job.nodes if node in transports]
        if not reached:
            return []
        login = transports[reached[0]]
        number = _number(job, login)
        try:
            numbers = sorted({*([] if number is None else [number]), *_unnoted(job, login)})
        except NodeError as error:
            return [Outcome(node, error=error) for node in reached]
        if not numbers:
            return [Outcome(node, value=0) for node in reached]
        before = fan_out(reached, lambda node: _noted(job, transports[node]).report.state)  # a slow disk delays no end
        ran = {each.item for each in before if each.value is State.RUNNING}
        for each in numbers:
            _end(job, each, login, grace)
        self._asking.forget(job.run_id)

        def one(node: str) -> int:
            after = _noted(job, transports[node])
            if after.report.state is State.RUNNING:
                raise NodeError(
                    "it did not tell that nothing of the run is left",
                    where=node,
                    why=f"its supervisor wrote down no end before Slurm's job {numbers[-1]} ended",
                    hint=f"Slurm ends what is left of a job when the node is back: scontrol show node {node}",
                )
            if after.left:
                raise NodeError(
                    f"{len(after.left)} processes cannot be ended", where=node, why=f"pids {list(after.left)}"
                )
            return after.ended if node in ran else 0

        return fan_out(reached, one)

    def failure_in(self, _line: str) -> str | None:
        """Nothing: Slurm itself ends the others when one fails."""
        return None

    def _told(self, job: Job, login: Transport, offsets: Mapping[str, int], tail: int | None) -> NodeReport:
        report = poll(job, login, offsets, tail, elsewhere=True)
        if is_fresh(report):
            return _without_end(report)
        number = _number(job, login)
        if number is None:
            return report
        found = self._asking.look(job.run_id, number, login)
        if report.state is State.FAILED and (found is None or found.ended is not None):
            # On its way back to the queue a job passes through states that look like an end.
            time.sleep(SETTLING)
            found = self._asking.look(job.run_id, number, login)
        if found is not None and found.held_back and report.node == job.nodes[0]:
            login.run(f"scontrol update JobId={number} StartTime=now")
        return judge(report, found, first=report.node == job.nodes[0])


@dataclass(frozen=True)
class _Noted:
    """How a node's part ended, as it wrote it down."""

    report: NodeReport
    ended: int = 0
    left: Sequence[int] = ()


def _noted(job: Job, login: Transport) -> _Noted:
    report = poll(job, login, {}, 0, elsewhere=True)
    told = call(login, job, "noted", job.run_dir, login.node.name)["ended"] or {}
    return _Noted(report, int(told.get("ended", 0)), tuple(told.get("left", ())))


def _without_end(report: NodeReport) -> NodeReport:
    """A run that runs: what a rank wrote of an error is no end as long as Slurm may start it again."""
    return judge(report, SlurmJob(state="RUNNING"), first=False)


def _number(job: Job, login: Transport) -> int | None:
    """The number of the run's newest job; None where none was submitted."""
    told = login.run(f"cat {sh_quote(f'{job.run_dir}/{NUMBER}')} 2>/dev/null").stdout.strip().partition(";")[0]
    return int(told) if told.isdigit() else None


def _unnoted(job: Job, login: Transport) -> list[int]:
    """The numbers of the run's jobs in Slurm's queue, where handing one to it was broken off before its number was
    written down: Slurm may have taken it all the same. Raises NodeError when Slurm does not answer."""
    begun = sh_quote(f"{job.run_dir}/{BEGUN}")
    asked = login.run(
        f'test ! -e {begun} || squeue --noheader --user="$(id -u)" --name={sh_quote(job.run_id)} --format=%A'
    )
    if not asked.ok:
        why = (asked.stderr.strip().splitlines() or [f"exit code {asked.code}"])[-1]
        raise NodeError(
            "Slurm does not tell whether it took the job",
            where=login.node.name,
            why=why,
            hint=f"scancel --name={job.run_id}, when scontrol ping succeeds",
        )
    return [int(word) for word in asked.stdout.split()]


def _end(job: Job, number: int, login: Transport, grace: float) -> None:
    """End a job that has not ended, and wait until Slurm has no process of it any more. Raises NodeError."""
    deadline = time.monotonic() + grace + ENDING
    asked = False
    while True:
        found = look(number, login)
        if found is None or found.ended is not None:
            return
        if not asked:
            # Numbers begin anew some day: the name makes sure that it is this run's.
            done = login.run(f"scancel --name={sh_quote(job.run_id)} {number}")
            if not done.ok:
                raise NodeError("Slurm does not end the job", where=login.node.name, why=done.stderr.strip())
            asked = True
        if time.monotonic() > deadline:
            raise NodeError(
                f"Slurm has not ended job {number} within {grace + ENDING:.0f} s",
                where=login.node.name,
                why=f"it is {found.state}",
                hint=f"scontrol show job {number}",
            )
        time.sleep(0.3)
