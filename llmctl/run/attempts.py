"""The attempts of a run: how each ended, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import takewhile
from typing import Any


class Reason(StrEnum):
    """Why an attempt ended before its time; the first four may be retried (`launch.on`)."""

    NODE_LOST = "node_lost"
    SSH = "ssh"
    COLLECTIVE_TIMEOUT = "collective_timeout"
    RANK_KILLED = "rank_killed"
    JOB_ERROR = "job_error"
    REQUEUED = "requeued"
    """Slurm took its nodes away and started it again."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a run; what is None is not known, or not yet."""

    number: int
    """From 1."""
    started: float
    """Unix seconds."""
    ended: float | None = None
    nodes: tuple[str, ...]
    """In the order of the ranks."""
    reason: Reason | None = None
    """None when it was not a failure that ended it."""
    node: str | None = None
    """Where it failed first."""
    rank: int | None = None
    exit_code: int | None = None
    lost: tuple[str, ...] = ()
    """Nodes that are not to be had any more."""
    from_step: int | None = None
    """The step of the checkpoint that it began from; 0 for none."""
    last_step: int | None = None
    automatic: bool = False
    """Nobody asked for it: it followed from the failure before."""
    elastic: bool = False
    """Torchrun or Slurm began it, within the start of the one before."""

    def line(self) -> str:
        """One line for people."""
        start = f"attempt {self.number} on {', '.join(self.nodes)} from step {self.from_step or 0}"
        if self.ended is None:
            return start
        what = "ended" if self.reason is None else self.reason.value.replace("_", " ")
        who = "".join(
            [
                f" on {self.node}" if self.node else "",
                f" rank {self.rank}" if self.rank is not None else "",
                f" (exit code {self.exit_code})" if self.exit_code is not None and self.reason else "",
            ]
        )
        return f"{start}: {what}{who}" + (f" at step {self.last_step}" if self.last_step is not None else "")


def read_attempts(manifest: Mapping[str, Any]) -> list[Attempt]:
    """The attempts of a run's manifest, the first first."""
    return [
        Attempt(
            **{
                **told,
                "nodes": tuple(told["nodes"]),
                "lost": tuple(told["lost"]),
                "reason": Reason(told["reason"]) if told["reason"] else None,
            }
        )
        for told in manifest.get("attempts", ())
    ]


def opened_attempts(attempts: Sequence[Attempt], new: Attempt) -> list[dict[str, Any]]:
    """The manifest's attempts with a new one; one that nobody saw end has ended by then."""
    closed = [replace(each, ended=each.ended or new.started) for each in attempts]
    return [asdict(each) for each in [*closed, new]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When a run is started again by itself."""

    retries: int
    on: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows from an attempt that failed."""

    nodes: tuple[str, ...] | None
    """Where the next attempt runs, in the order of the ranks; None: there is none."""
    awaited: tuple[str, ...] = ()
    """Nodes among them that have to answer again first."""
    why: str = ""
    """For people."""


def decide(attempts: Sequence[Attempt], policy: Policy, pool: Sequence[str]) -> Decision:
    """What follows from the last of `attempts`, which has failed. `pool` names the nodes that may stand in, the best
    first. A lost node is replaced in its place among the ranks; a node whose ranks were killed is replaced at the
    second time, since the first one may be the work of a person or of another job there."""
    last = attempts[-1]
    reason = last.reason or Reason.JOB_ERROR
    if policy.retries == 0:
        return Decision(nodes=None)
    if reason not in policy.on:
        name = "an error of the job" if reason is Reason.JOB_ERROR else reason.value
        return Decision(nodes=None, why=f"{name} is not retried (launch.on: {', '.join(policy.on)})")
    used = retries_used(attempts)
    if used >= policy.retries:
        return Decision(nodes=None, why=f"all {policy.retries} retries are used up")
    bad = bad_nodes(attempts)
    stand_ins = [name for name in pool if name not in last.nodes]
    chosen = {name: stand_ins.pop(0) for name in last.nodes if name in bad and stand_ins}
    nodes = tuple(chosen.get(name, name) for name in last.nodes)
    awaited = tuple(name for name in last.lost if name in nodes)
    told = [f"{new} in the place of {old}" for old, new in chosen.items()]
    why = f"{reason.value}: retry {used + 1} of {policy.retries}" + (f", {', '.join(told)}" if told else "")
    return Decision(nodes=nodes, awaited=awaited, why=why)


def retries_used(attempts: Sequence[Attempt]) -> int:
    """How many of the last attempts nobody asked for, without those of torchrun."""
    last = takewhile(lambda each: each.automatic or each.elastic, reversed(attempts))
    return sum(each.automatic for each in last)


def bad_nodes(attempts: Sequence[Attempt]) -> Collection[str]:
    """Nodes that the next attempt shall do without, if it can."""
    last = attempts[-1]
    if last.lost or last.reason is not Reason.RANK_KILLED:
        return last.lost
    before = [each.node for each in attempts[:-1] if each.reason is Reason.RANK_KILLED]
    return (last.node,) if last.node is not None and last.node in before else ()
