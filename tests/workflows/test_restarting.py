"""Runs that are started again by themselves, with a rank of the standard library on real nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def four() -> Iterator[Lab]:
    """Two nodes and two spares with the small rank, of the test's own."""
    with ExitStack() as stack:
        yield make_lab(stack, count=4)


def attempts(run: Drill) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run.run / "manifest.json").read_text())["attempts"]
    return found


def records(run: Drill) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.run / "output" / "steps.jsonl").read_text().splitlines()]


def test_spares_take_the_places_of_lost_nodes_the_first_one_too(four: Lab, tmp_path: Path) -> None:
    launch = {"retries": 2, "spares": ["node3", "node4"]}
    run = Drill(four, tmp_path, steps=700, sections={"launch": launch})
    started = run.start()
    run.until_step(12)
    four.crash(four.nodes[1])
    until("the second attempt", lambda: len(attempts(run)) == 2, 90)
    again = attempts(run)[1]
    assert (again["nodes"], again["automatic"]) == (["node1", "node3"], True)
    run.until_step(again["from_step"] + 12)
    four.crash(four.nodes[0])
    assert started.wait(150) == 0, run.text
    first, second, third = attempts(run)
    assert (first["reason"], first["node"], first["lost"]) == ("node_lost", "node2", ["node2"])
    assert (second["reason"], second["node"], second["lost"]) == ("node_lost", "node1", ["node1"])
    assert third["nodes"] == ["node4", "node3"]
    for attempt in (second, third):
        assert attempt["from_step"] >= 5
        assert attempt["from_step"] % 5 == 0
    assert "retry 1 of 2, node3 in the place of node2" in run.text
    assert f"SUCCEEDED: {run.run.name}, 700 steps" in run.text
    assert [node["name"] for node in run.manifest["nodes"]] == ["node4", "node3"]
    assert [node["name"] for node in run.manifest["leftover"]] == ["node2", "node1"]
    starts = [record["resumed_from_step"] for record in records(run) if record["record"] == "run"]
    assert starts == [0, second["from_step"], third["from_step"]]
    assert {record["step"] for record in records(run) if record["record"] == "step"} == set(range(1, 701))
