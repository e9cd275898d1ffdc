"""Two runs on the same nodes: one is cancelled and leaves nothing, the other notices nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Two nodes with the small rank."""
    with ExitStack() as stack:
        yield make_lab(stack, count=2)


def ended(drill: Drill) -> int:
    assert drill.started is not None
    return drill.started.wait(90)


@pytest.mark.parametrize("backend", ["ssh", "pdsh"])
def test_cancel_touches_no_other_run(pair: Lab, tmp_path: Path, backend: str) -> None:
    launch = {"backend": backend, "launcher": "deepspeed"}
    cluster = [{"master_port": 29511}, {"master_port": 29522}]
    names = (f"one-{backend}", f"two-{backend}")
    drills = [
        Drill(pair, tmp_path / name, name=name, sections={"launch": launch, "cluster": own})
        for name, own in zip(names, cluster, strict=True)
    ]
    for drill in drills:
        drill.start()
    for drill in drills:
        drill.until_step(3)
    one, two = drills
    one.order(1, "escape")
    until("the child is there", lambda: one.pids(pair.nodes[1], "sleep 86400"))
    before = {node.name: two.pids(node, "smallrank") for node in pair.nodes}
    assert all(before.values())
    began = time.monotonic()
    llmctl("cancel", one.run, env=pair.env, code=0)
    assert time.monotonic() - began < 10
    assert one.left() == []
    step = max(two.records())
    until("the other run goes on", lambda: max(two.records()) > step + 5)
    assert {node.name: two.pids(node, "smallrank") for node in pair.nodes} == before
    assert ended(one) == 130
    llmctl("cancel", two.run, env=pair.env, code=0)
    assert ended(two) == 130
    assert two.left() == []
