"""Looking at a run on real nodes, one of which is away for a while."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cli.jobs import Running
from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        yield make_lab(stack, count=2)


@pytest.fixture
def drill(lab: Lab, tmp_path: Path) -> Iterator[Drill]:
    """A run in the background; it is cancelled in the end."""
    made = Drill(lab, tmp_path)
    made.detach()
    made.until_step(3)
    yield made
    llmctl("cancel", made.run, env=lab.env)


def status(drill: Drill, code: int) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(llmctl("status", drill.run, "--json", env=drill.lab.env, code=code).stdout)
    return told


def test_a_node_that_does_not_answer_is_shown_as_it_was_last_seen(drill: Drill) -> None:
    first, second = drill.lab.nodes
    told = status(drill, 0)
    assert [(node["node"], node["answers"], node["state"]) for node in told["nodes"]] == [
        (first.name, True, "RUNNING"),
        (second.name, True, "RUNNING"),
    ]
    assert told["nodes"][0]["step"] == told["step"] >= 3
    until("the memory is told", lambda: all(node["memory_mb"] for node in status(drill, 0)["nodes"]))
    drill.lab.cut(second)
    began = time.monotonic()
    try:
        away = status(drill, 5)
        took = time.monotonic() - began
        shown = llmctl("status", drill.run, env=drill.lab.env, code=5)
    finally:
        drill.lab.join(second)
    assert took < 9, "a node that is away is not waited for as long as a connection may take"
    assert away["state"] == "RUNNING"
    assert [(node["answers"], node["state"]) for node in away["nodes"]] == [(True, "RUNNING"), (False, "RUNNING")]
    assert away["nodes"][1]["answered_seconds_ago"] > 0
    assert "no answer (RUNNING)" in shown.stdout
    assert f"{second.name}: " in shown.stderr
    drill.lab.cut(first)
    try:
        assert status(drill, 5)["step"] >= 3, "the records are on the first node, and here"
    finally:
        drill.lab.join(first)
    until("it answers again", lambda: llmctl("status", drill.run, env=drill.lab.env).returncode == 0)


def test_a_lost_connection_is_made_again_by_all_who_look_on(drill: Drill, tmp_path: Path) -> None:
    second = drill.lab.nodes[1]
    argv = [sys.executable, "-m", "llmctl"]
    looking = {
        words[0]: Running([*argv, *words], drill.lab.env, tmp_path / f"{words[0]}.out")
        for words in (["logs", str(drill.run), "-f", "--grep", "order"], ["attach", str(drill.run)])
    }
    try:
        for running in looking.values():
            drill.order(1, "busy 0.1")
            running.until(rf"\[{second.name} rank1\] order: busy")
        for node in drill.lab.nodes:
            drill.lab.exec(node, "pkill -f 'sshd: root@notty'")
        drill.order(1, "busy 0.2")
        for running in looking.values():
            running.until(rf"\[{second.name} rank1\] order: busy 0.2")
            assert running.text.count("order: busy 0.2") == 1
        llmctl("cancel", drill.run, env=drill.lab.env, code=0)
        assert looking["logs"].ends() == 0, looking["logs"].text
        assert looking["attach"].ends() == 130, looking["attach"].text
    finally:
        for running in looking.values():
            running.kill()
