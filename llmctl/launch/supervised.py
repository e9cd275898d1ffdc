"""Talking to the supervisors on the nodes: what all SSH-like backends share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmctl.errors import NodeError
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import Outcome, fan_out, let_end
from llmctl.remote.transport import Transport
from llmctl.run.states import State

MARKER = "LLMCTL-JSON "
POLL_SECONDS = 10.0
"""Patience with one answer; well below the time after which a node counts as lost."""
TAIL = 32 * 1024
"""Bytes of each file's end that tell how a run stands."""
FULL = 200 * 1024
"""Bytes of one file's text after which there may be more; the supervisor gives at most 256 KiB at once."""

ENDING = 60.0
"""Seconds for a cancel besides its grace for the container and that for processes; a runtime that hangs is given 30."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a backend needs to know of a run, also long after its start."""

    run_id: str
    run_dir: str
    nodes: tuple[str, ...]
    """All nodes in the order of the ranks."""
    python: str
    shell: str
    device: str = ""
    """The kind whose use the nodes are asked for."""


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """What one node tells in one round trip."""

    node: str
    state: State | None
    """None: no supervisor was started here."""
    exit_code: int | None = None
    ended: float | None = None
    heartbeat: float | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    """New text by file (`logs/<node>/rank0.log`, `output/steps.jsonl`)."""
    offsets: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[dict[str, Any], ...] = ()
    """What failing ranks wrote down, in no order."""
    clock: float = 0.0
    """The node's own time of the answer."""
    memory_mb: int | None = None
    """Resident memory of the run's processes."""
    devices: tuple[dict[str, Any], ...] = ()
    """Use and memory of each device, as the supervisor gives them."""
    trouble: str = ""
    """What the node cannot do though the run goes on: its disk is full."""


def call(
    transport: Transport, job: Job, verb: str, *words: str, stdin: bytes = b"", timeout: float = 60
) -> dict[str, Any]:
    """One verb of `supervisor.py` on a node. Raises NodeError when it gives no answer."""
    script = sh_quote(f"{job.run_dir}/supervisor.py")
    python = sh_quote(job.python)
    command = (
        f"P=$(command -v {python} || command -v python3) || {{ echo 'no python3' >&2; exit 127; }}; "
        f'exec "$P" -S -I {script} {verb} {" ".join(map(sh_quote, words))}'
    )
    result = transport.run(command, stdin=stdin, timeout=timeout)
    _, marker, answer = result.stdout.rpartition("\n" + MARKER)
    if not marker:
        raise NodeError(
            f"the supervisor gave no answer to {verb}",
            where=transport.node.name,
            why=(result.stderr.strip().splitlines() or [f"exit code {result.code}"])[-1],
            hint=f"is {job.run_dir} still there?",
        )
    answered: dict[str, Any] = json.loads(answer)
    return answered


def prepare(job: Job, transports: Mapping[str, Transport], nodes: Sequence[str]) -> list[Outcome[str, int]]:
    """Forget on `nodes` how an earlier start of the run ended; for nodes that get no supervisor."""

    def one(node: str) -> int:
        call(transports[node], job, "prepare", job.run_dir, node)
        return 0

    return fan_out(nodes, one, stop=let_end)


def start(job: Job, transports: Mapping[str, Transport], nodes: Sequence[str]) -> list[Outcome[str, int]]:
    """Start the supervisor on `nodes`; each outcome is its pid. A refusal is a NodeError."""

    def one(node: str) -> int:
        rank = str(job.nodes.index(node))
        answer = call(transports[node], job, "start", job.run_dir, node, rank, job.shell, job.run_id)
        if "error" in answer:
            raise NodeError(
                f"the supervisor refuses: {answer['error']}", where=node, hint=f"llmctl cancel {job.run_id}"
            )
        return int(answer["pid"])

    return fan_out(nodes, one, stop=let_end)


def poll(
    job: Job, transport: Transport, offsets: Mapping[str, int], tail: int | None = None, *, elsewhere: bool = False
) -> NodeReport:
    """One round trip to one node: its state and what its files hold behind `offsets`, of a file without one what was
    written since the last start, at most its last `tail` bytes. `elsewhere`: another machine answers for the node, from
    the file system that they share."""
    node = transport.node.name
    asked = {"offsets": dict(offsets), "tail": tail, "device": job.device, "elsewhere": elsewhere}
    request = json.dumps(asked).encode()
    answer = call(transport, job, "poll", job.run_dir, node, stdin=request, timeout=POLL_SECONDS)
    state = answer["state"] or {}
    return NodeReport(
        node=node,
        state=State(state["state"]) if state else None,
        exit_code=state.get("exit_code"),
        ended=state.get("ended"),
        heartbeat=state.get("heartbeat"),
        texts={name: entry["text"] for name, entry in answer["files"].items()},
        offsets={name: entry["offset"] for name, entry in answer["files"].items()},
        errors=tuple(answer["errors"]),
        clock=answer["time"],
        memory_mb=state.get("memory_mb"),
        devices=tuple(state.get("devices") or ()),
        trouble=_trouble(job, state, answer.get("free_mb")),
    )


def _trouble(job: Job, state: Mapping[str, Any], free_mb: int | None) -> str:
    if state.get("dropped"):
        return f"{state['dropped']} bytes of its launcher's output could not be written: {state.get('why')}"
    return f"the disk of {job.run_dir} is full" if free_mb == 0 else ""


def cancel(job: Job, transports: Mapping[str, Transport], grace: float) -> list[Outcome[str, int]]:
    """End every process of the run on every node that `transports` reach; each outcome is how many were ended.
    Processes that survive are a NodeError."""

    def one(node: str) -> int:
        words = (job.run_dir, node, str(grace), job.run_id)
        answer = call(transports[node], job, "cancel", *words, timeout=2 * grace + ENDING)
        if answer.get("container"):
            raise NodeError("its container cannot be ended", where=node, why=answer["container"])
        if answer["left"]:
            raise NodeError(
                f"{len(answer['left'])} processes cannot be ended", where=node, why=f"pids {answer['left']}"
            )
        return int(answer["ended"])

    return fan_out([node for node in job.nodes if node in transports], one)


def states(job: Job, transports: Mapping[str, Transport]) -> list[Outcome[str, NodeReport]]:
    """The state of every node of the run with the ends of its files; a node that cannot be asked is an error."""

    def one(node: str) -> NodeReport:
        if node not in transports:
            raise NodeError("it was not reached", where=node, hint=f"llmctl check {node}")
        return poll(job, transports[node], {}, TAIL)

    return fan_out(job.nodes, one)
