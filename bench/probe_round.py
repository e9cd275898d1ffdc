"""The client of `bench.fanout`: the check's own connections, fan-out and parsing, for its first round alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmctl.checks.probing import MARKS, answer
from llmctl.checks.question import Question
from llmctl.errors import NodeError
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.remote.connect import connect_all
from llmctl.remote.fanout import fan_out
from llmctl.remote.transport import CommandResult, Transport
from llmctl.workflows.check import check_nodes


@dataclass
class Recorder:
    """A transport that reaches nothing: it keeps what the check would run."""

    node: Node
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:  # noqa: ARG002
        self.asked.append((command, stdin))
        raise NodeError("only recorded", where=self.node.name)

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:  # noqa: ARG002
        raise AssertionError("a check writes nothing")

    def get(self, remote: str, local: Path) -> None:  # noqa: ARG002
        raise AssertionError("a check fetches nothing")

    def close(self) -> None:
        pass


def full_probe() -> tuple[str, bytes]:
    """What `llmctl check NODES` runs on each node in its first round: the command and its standard input."""
    recorder = Recorder(Node(name="recorded"))
    check_nodes([recorder.node], {"recorded": recorder}, Question())
    return recorder.asked[0]


def main() -> None:
    """Ask all nodes; tell how many answered."""
    command, stdin = full_probe()
    outcomes = connect_all(parse_nodes(sys.argv[1:]))
    opened = [outcome.value for outcome in outcomes if outcome.value is not None]

    def ask(transport: Transport) -> bool:
        return answer(transport.run(command, stdin=stdin, timeout=90).stdout) is not None

    try:
        asked = fan_out(opened, ask)
    finally:
        for transport in opened:
            transport.close()
    for outcome in (*outcomes, *asked):
        if outcome.error is not None:
            sys.stderr.write(f"{outcome.error}\n")
    sys.stdout.write(f"{MARKS[1]}\n" * sum(outcome.value is True for outcome in asked))


if __name__ == "__main__":
    main()
