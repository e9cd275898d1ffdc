"""Who failed first. A rank that died of a signal wrote nothing down, and the others then complain of a closed
connection: the dead rank is the cause, whatever the clocks say."""

from __future__ import annotations

import re
import signal
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmctl.launch.supervised import NodeReport
from llmctl.run.attempts import Reason
from llmctl.run.states import State

_TORCHRUN = re.compile(r"rank\s*:\s*(?P<rank>\d+)\s*\(local_rank.*?exitcode\s*:\s*(?P<code>-?\d+)", re.DOTALL)
_ROOT_CAUSE = "Root Cause"
_DEEPSPEED = re.compile(r"exits with return code = (?P<code>-?\d+)")
_RANK_LOG = re.compile(r"logs/(?P<node>[^/]+)/rank(?P<rank>\d+)\.log")
_EXCEPTION = re.compile(r"(\w+\.)*\w+(Error|Exception): ")
ECHO = re.compile(
    r"closed by peer|connection reset|socket timeout|timed out waiting|broken pipe|it comes from rank", re.IGNORECASE
)
"""What a rank says when another one is gone, or is the cause."""
COLLECTIVE_TIMEOUT = re.compile(
    r"timed out waiting \d+ ?ms for|watchdog caught collective operation timeout|socket timeout|wait timeout after "
    r"\d+ ?ms|rendezvoustimeouterror|timed out after \d+(\.\d+)? seconds waiting for clients|\bEI000[26]\b|"
    r"getting socket times out|notify register times out|hccl\w* .{0,80}time(d)? ?out",
    re.IGNORECASE,
)
"""How gloo, NCCL, HCCL and torch's rendezvous say that other ranks did not come."""
SSH_BROKE = re.compile(r"ssh exited with exit code 255\b")
"""How pdsh tells that its connection to a node ended, and not the command there."""
ENDED_BY_OTHERS = (-signal.SIGABRT, -signal.SIGTERM)
"""How a rank ends when another one is gone: a collective library's watchdog aborts it, a launcher terminates it."""
ASKED = "Stopped"
"""The error of a rank that was asked to stop, and did: a consequence as long as there is anything else."""
FOR_PEOPLE = ("EngineError", "Stopped")
"""The engine's own errors: their message says what is wrong, a traceback would not."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The first failure of a run."""

    node: str
    rank: int | None
    exit_code: int | None
    """128+n for signal n."""
    message: str
    tail: tuple[str, ...]
    """The last lines of what the rank, or its launcher, wrote."""


def first_failure(reports: Mapping[str, NodeReport], logs: Mapping[str, str]) -> Failure | None:
    """The cause among what all nodes told; `logs` holds the text of each log file so far by name
    (`logs/<node>/rank0.log`). None when no node tells of a failure."""
    told = [(node, error) for node, report in reports.items() for error in report.errors]
    errors = [pair for pair in told if pair[1].get("type") != ASKED]
    killed = [death for node in reports for death in _deaths(node, logs.get(f"logs/{node}/launcher.log", ""))]
    own = [pair for pair in errors if not ECHO.search(str(pair[1].get("message", "")))]
    for node, rank, code in killed:
        silent = not any(error["rank"] == rank for _, error in told)
        # DeepSpeed does not name the rank, which may well have written down why.
        telling = code < 0 or (rank is not None and not own)
        if silent and telling and not (own and code in ENDED_BY_OTHERS):
            what = f"ended by signal {-code}" if code < 0 else "ended without a word"
            exit_code = 128 - code if code < 0 else code
            return Failure(node=node, rank=rank, exit_code=exit_code, message=what, tail=_tail(logs, node, rank))
    unwritten = None if own else _unwritten(logs, told)
    if unwritten is not None:
        return unwritten
    ended = [report for report in reports.values() if report.state in (State.FAILED, State.LOST)]
    dead = [report for report in ended if report.state is State.LOST or _by_signal(report.exit_code)]
    if not errors and not dead:
        errors = told
    if errors:
        node, error = min(own or errors, key=lambda pair: float(pair[1].get("time", 0)))
        rank = int(error["rank"])
        trace = str(error.get("traceback") or "").rstrip().splitlines()[-8:]
        plain = error.get("type") in FOR_PEOPLE
        return Failure(
            node=node,
            rank=rank,
            exit_code=next((abs(code) for _, r, code in killed if r == rank), None),
            message=str(error["message"]) if plain else f"{error.get('type', 'error')}: {error.get('message', '')}",
            tail=() if plain else tuple(trace) or _tail(logs, node, rank),
        )
    if not ended:
        return None
    first = min(dead or ended, key=lambda report: report.ended or report.clock)
    what = "the supervisor is gone" if first.state is State.LOST else f"ended with exit code {first.exit_code}"
    tail = _tail(logs, first.node, None)
    return Failure(node=first.node, rank=None, exit_code=first.exit_code, message=what, tail=tail)


def cause(reports: Mapping[str, NodeReport], logs: Mapping[str, str], lost: Collection[str] = ()) -> Failure | None:
    """The first failure, unless it is only that of a rank that misses one of the `lost` nodes."""
    failure = first_failure(reports, logs)
    return None if lost and failure is not None and ECHO.search(failure.message) else failure


def _unwritten(logs: Mapping[str, str], told: Iterable[tuple[str, Mapping[str, Any]]]) -> Failure | None:
    """The error of a rank that could not write it down, as on a disk that takes nothing new: the end of its log."""
    writing = {int(error["rank"]) for _, error in told}
    for name, text in logs.items():
        place = _RANK_LOG.fullmatch(name)
        if place is None or int(place["rank"]) in writing or not text.strip():
            continue
        last = text.rstrip().splitlines()[-1]
        if _EXCEPTION.match(last) and not ECHO.search(last):
            tail = _tail(logs, place["node"], int(place["rank"]))
            return Failure(node=place["node"], rank=int(place["rank"]), exit_code=None, message=last, tail=tail)
    return None


def _by_signal(exit_code: int | None) -> bool:
    """Whether a launcher itself was killed; SIGTERM is how it is asked to end."""
    return exit_code is not None and exit_code > 128 and exit_code != 128 + signal.SIGTERM


def reason_of(
    failure: Failure | None, logs: Mapping[str, str], *, lost: Collection[str] = (), refused: Collection[str] = ()
) -> Reason:
    """Why a run failed. `lost` are the nodes that are gone, `refused` those of them whose machine answers while its
    sshd does not; `logs` holds the text of each log file by name."""
    if lost:
        return Reason.SSH if set(lost) == set(refused) else Reason.NODE_LOST
    if failure is None:
        return Reason.JOB_ERROR
    if any(SSH_BROKE.search(text) for name, text in logs.items() if name.endswith("/launcher.log")):
        return Reason.SSH
    told = "\n".join([failure.message, *failure.tail])
    died = failure.exit_code is not None and failure.exit_code > 128 and failure.exit_code - 128 in DEADLY
    if COLLECTIVE_TIMEOUT.search(failure.message) or (died and COLLECTIVE_TIMEOUT.search(told)):
        return Reason.COLLECTIVE_TIMEOUT
    if ECHO.search(failure.message) and failure.exit_code in (None, 1):
        return Reason.COLLECTIVE_TIMEOUT  # the ranks lost each other while none of them died
    return Reason.RANK_KILLED if died else Reason.JOB_ERROR


DEADLY = frozenset({signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
"""Signals of which a rank dies; SIGTERM and SIGINT are a request that somebody made."""


def _deaths(node: str, launcher_log: str) -> Iterable[tuple[str, int | None, int]]:
    """(node, rank, exit code) that the per-node launcher tells. Torchrun calls that rank the cause whose end it saw
    first, and lists the others before it: one that was killed may be among them."""
    before, root, after = launcher_log.partition(_ROOT_CAUSE)
    if root:
        cause = [(int(match["rank"]), int(match["code"])) for match in _TORCHRUN.finditer(after)][:1]
        others = [(int(match["rank"]), int(match["code"])) for match in _TORCHRUN.finditer(before)]
        yield from ((node, *each) for each in cause)
        yield from ((node, *each) for each in others if each[1] < 0 and each[1] not in ENDED_BY_OTHERS)
        return
    match = _DEEPSPEED.search(launcher_log)
    if match:
        yield node, None, int(match["code"])


def _tail(logs: Mapping[str, str], node: str, rank: int | None, count: int = 8) -> tuple[str, ...]:
    names = [f"logs/{node}/rank{rank}.log"] if rank is not None else []
    for name in [*names, f"logs/{node}/launcher.log"]:
        lines = [line for line in logs.get(name, "").splitlines() if line.strip()]
        if lines:
            return tuple(lines[-count:])
    return ()
