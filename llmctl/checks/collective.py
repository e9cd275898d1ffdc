"""What the ranks told of one all_reduce, judged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from llmctl.checks.addresses import Values, value_of
from llmctl.checks.facts import Finding, Severity

TIMES_SLOWER = 5
LEAST_SECONDS = 0.02
"""Below this a message of 1 MiB there and back is quick, whatever the others take."""
NAME = "collective.ranks"


def judge_collective(values: Values, names: Sequence[str]) -> list[Finding]:
    """Ranks that failed or did not arrive, each with its node and its own words first; nodes that are slow."""
    told = {name: answer for name in names if (answer := value_of(values, NAME, name)) is not None}
    errors = {
        name: {rank: state for rank, state in answer["ranks"].items() if state["error"]}
        for name, answer in told.items()
    }
    early = {
        name: {rank: state for rank, state in ranks.items() if state["state"] in ("started", "imported")}
        for name, ranks in errors.items()
    }
    # Ranks that arrived fail after those that did not: they are no cause.
    causes = early if any(early.values()) else errors
    failed = {}
    for name, ranks in causes.items():
        for rank, state in list(ranks.items())[:1]:
            failed[name] = f"rank {rank} {_stage(state['state'])}: {state['error']}"
    found = []
    if failed:
        said = "; ".join(f"{name}: {text}" for name, text in failed.items())
        found.append(
            Finding(
                code="collective.wrong", severity=Severity.ERROR, nodes=tuple(failed), title=said,
                values={name: answer["ranks"] for name, answer in told.items()},
                remedy="try it there: cluster.python -c 'import torch', then the interface and ports between the nodes",
            )
        )  # fmt: skip
    peers = {name: seconds for answer in told.values() for name, seconds in answer["peers"].items()}
    slow = {
        name: seconds
        for name, seconds in peers.items()
        if seconds > LEAST_SECONDS
        and len(peers) > 1
        and seconds > TIMES_SLOWER * median(other for peer, other in peers.items() if peer != name)
    }
    if slow:
        text = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in slow.items())
        usual = median(seconds for name, seconds in peers.items() if name not in slow)
        found.append(
            Finding(
                code="collective.slow", severity=Severity.WARNING, nodes=tuple(slow), values=dict(peers),
                title=f"1 MiB to {names[0]} and back: {text}, the other nodes {usual * 1000:.0f} ms",
                remedy="look at the cable, the switch port and the load of that node",
            )
        )  # fmt: skip
    return found


def _stage(state: str) -> str:
    return {"started": "did not start", "imported": "did not arrive"}.get(state, f"failed after it {state}")
