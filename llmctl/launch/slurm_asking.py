"""Asking Slurm about a job: a controller has better things to do than to tell every node's watcher the same."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from llmctl.errors import NodeError
from llmctl.launch.slurm_state import SlurmJob, read_jobcomp, read_sacct, read_scontrol
from llmctl.remote.transport import Transport

SHARED = 1.0
"""Seconds for which an answer is everybody's who asks about the same job."""


@dataclass(frozen=True)
class Asking:
    """Asks for many at once: whoever comes while a question is under way, or soon after, gets its answer or error."""

    _asked: dict[tuple[str, int], tuple[float, Future[SlurmJob | None]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, run_id: str, number: int, login: Transport) -> SlurmJob | None:
        """As `look`, of a job of the run `run_id`."""
        key, now = (run_id, number), time.monotonic()
        with self._lock:
            before = self._asked.get(key)
            ours = before is None or (before[1].done() and now - before[0] > SHARED)
            if ours:
                self._asked[key] = (now, Future())
            answer = self._asked[key][1]
        if ours:
            try:
                answer.set_result(look(number, login))
            except BaseException as error:  # noqa: BLE001 - raised below, and where others wait for it
                answer.set_exception(error)
        return answer.result()

    def forget(self, run_id: str) -> None:
        """What was told of a run's jobs holds no longer."""
        with self._lock:
            for key in [key for key in self._asked if key[0] == run_id]:
                del self._asked[key]


def look(number: int, login: Transport) -> SlurmJob | None:
    """A job as Slurm knows it: from the controller, then accounting, then the file of ended jobs. None where it is
    forgotten. Raises NodeError when Slurm does not answer."""
    asked = login.run(f"scontrol show job -o {number} && date +Now=%Y-%m-%dT%H:%M:%S")
    if asked.ok:
        return read_scontrol(asked.stdout)
    if "Invalid job id" not in asked.stderr:
        why = (asked.stderr.strip().splitlines() or [f"exit code {asked.code}"])[-1]
        raise NodeError("Slurm gives no answer", where=login.node.name, why=why, hint="scontrol ping")
    accounted = login.run(f"sacct -nPX -j {number} -o State,ExitCode,NodeList")
    if accounted.ok and (found := read_sacct(accounted.stdout)):
        return found
    file = "$(scontrol show config | sed -n 's/^JobCompLoc *= *//p')"
    return read_jobcomp(login.run(f'grep -- "^JobId={number} " "{file}"').stdout)
