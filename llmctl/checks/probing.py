"""Rows to one request for the probe, and its answer to facts. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmctl.checks.facts import Fact
from llmctl.checks.rows import Row

TIMEOUT = 15.0
"""Seconds for one command on a node."""
BUDGET = 30.0
"""Seconds for all commands on a node: a check tells within a minute what hangs there."""
MARKS = ("LLMCTL-PROBE-BEGIN", "LLMCTL-PROBE-END")


def request(
    rows: Sequence[Row],
    *,
    activation: str | None,
    ports: Sequence[int],
    shell: str = "bash",
    budget: float = BUDGET,
    **network: Any,
) -> dict[str, Any]:
    """What the probe is asked. Rows with the same command share one run of it; `shell` runs the activation; `budget`
    is the seconds for all commands, unless one may take longer by itself."""
    commands = {
        _key(row): {"run": row.run, "env": row.env and activation is not None, "timeout": row.seconds or TIMEOUT}
        for row in rows
    }
    return {
        "activation": activation,
        "shell": shell,
        "timeout": TIMEOUT,
        "budget": max([budget, *(row.seconds for row in rows if row.seconds)]),
        "commands": commands,
        "ports": list(ports),
        **network,
    }


def program(probe: str, asked: Mapping[str, Any]) -> str:
    """The text for a node's Python on standard input."""
    encoded = base64.b64encode(json.dumps(asked).encode()).decode()
    return f'{probe}\nmain("{encoded}")\n'


def answer(out: str) -> dict[str, Any] | None:
    """The JSON between the marks; None when the probe did not get that far."""
    _, begin, rest = out.partition(f"\n{MARKS[0]}\n")
    body, end, _ = rest.partition(f"\n{MARKS[1]}")
    if not begin or not end:
        return None
    try:
        told: dict[str, Any] = json.loads(body)
    except ValueError:
        return None
    return told


Parsed = dict[tuple[Callable[[str], Any], str], Any]
"""(parser, output) -> value, of what was parsed before: most nodes say the same, and then share one value."""


def facts(node: str, rows: Sequence[Row], told: Mapping[str, Any], parsed: Parsed | None = None) -> list[Fact]:
    """One fact a row. A command that failed, or text that is not understood, is a fact without a value. `parsed` is
    kept between nodes."""
    parsed = {} if parsed is None else parsed
    found = []
    for row in rows:
        result = told["commands"].get(_key(row), {"code": 1, "out": "", "err": "it was not run"})
        value, error = None, None
        if result["code"] == 0:
            try:
                key = row.parse, result["out"]
                if key not in parsed:
                    parsed[key] = row.parse(result["out"])
                value = parsed[key]
            except (ValueError, KeyError, IndexError, TypeError) as problem:
                error = str(problem) or type(problem).__name__
        else:
            said = (result["err"] or result["out"]).strip().splitlines()
            error = said[-1][:300] if said else f"exit code {result['code']}"
        found.append(
            Fact(
                name=row.name,
                node=node,
                value=value,
                source=row.run if len(row.run) < 200 else row.run[:200] + " ...",
                scope="env" if row.env else "host",
                error=error,
            )
        )
    return found


def _key(row: Row) -> str:
    return f"{'env' if row.env else 'host'} {row.run}"
