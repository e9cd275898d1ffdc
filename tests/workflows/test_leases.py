"""Two starts on the same nodes: one gets the devices, the other is told whose they are, or waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.workflows import leases as leasing
from llmctl.workflows.render import draft
from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab

pytestmark = pytest.mark.lab

REFUSE = {"launch": {"when_busy": "refuse"}}
WAIT = {"launch": {"when_busy": "wait"}}
RECIPE = """\
name: here
cluster: {device: cpu}
launch: {backend: local, when_busy: refuse}
model: {init: {model_type: llama, vocab_size: 600}}
data: {dir: ., datasets: [rows]}
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Two nodes with the small rank."""
    with ExitStack() as stack:
        yield make_lab(stack, count=2)


def leases(lab: Lab) -> list[str]:
    return [
        f"{node.name}/{name}"
        for node in lab.nodes
        for name in lab.exec(node, "ls /tmp/llmctl-leases 2>/dev/null").stdout.split()
    ]


def ended(drill: Drill) -> int:
    assert drill.started is not None
    return drill.started.wait(90)


def test_of_two_starts_at_once_one_gets_the_devices(pair: Lab, tmp_path: Path) -> None:
    drills = [Drill(pair, tmp_path / name, name=name, steps=100, sections=REFUSE) for name in ("one", "two")]
    for drill in drills:
        drill.start()
    codes = [ended(drill) for drill in drills]
    assert sorted(codes) == [0, 3], [drill.text for drill in drills]
    winner, loser = (drills[codes.index(code)] for code in (0, 3))
    assert f"cpu-0: run {winner.name}-" in loser.text
    assert "of root since" in loser.text
    assert "launch.when_busy=wait" in loser.text
    assert not list(loser.runs.glob("*"))
    assert leases(pair) == []


def test_a_waiting_start_runs_when_the_devices_are_free(pair: Lab, tmp_path: Path) -> None:
    first = Drill(pair, tmp_path / "first", name="first", sections=REFUSE)
    first.start()
    first.until_step(1)
    second = Drill(pair, tmp_path / "second", name="second", steps=10, sections=WAIT)
    started = second.start()
    started.until(f"waiting for node1 cpu-0: run {first.run.name} of root since")
    started.until(f"(pid {first.supervisor(pair.nodes[0])})")
    assert not second.runs.exists()
    llmctl("cancel", first.run, env=pair.env, code=0)
    assert ended(second) == 0, second.text
    assert ended(first) == 130
    assert leases(pair) == []


def test_ctrl_c_while_waiting_leaves_nothing(pair: Lab, tmp_path: Path) -> None:
    first = Drill(pair, tmp_path / "first", name="first", sections=REFUSE)
    first.start()
    first.until_step(1)
    held = leases(pair)
    second = Drill(pair, tmp_path / "second", name="second", sections=WAIT)
    started = second.start()
    started.until("waiting for")
    started.interrupt()
    assert ended(second) == 130
    assert leases(pair) == held
    assert not second.runs.exists()
    llmctl("cancel", first.run, env=pair.env, code=0)
    ended(first)


def test_two_runs_share_nodes_by_device_and_one_is_cancelled(pair: Lab, tmp_path: Path) -> None:
    halves = [
        Drill(pair, tmp_path / name, name=name, sections={**REFUSE, "cluster": {"devices": [number]}})
        for number, name in enumerate(("left", "right"))
    ]
    for half in halves:
        half.start()
    for half in halves:
        half.until_step(1)
    left, right = halves
    llmctl("cancel", left.run, env=pair.env, code=0)
    assert ended(left) == 130
    assert left.left() == []
    step = max(right.records())
    until("the other run goes on", lambda: max(right.records()) > step + 5)
    assert [name.partition("/")[2].partition(".")[0] for name in leases(pair)] == ["cpu-1", "cpu-1"]
    llmctl("cancel", right.run, env=pair.env, code=0)
    ended(right)


def test_a_failed_start_gives_the_devices_back(pair: Lab, tmp_path: Path) -> None:
    broken = Drill(pair, tmp_path, name="broken", sections={**REFUSE, "cluster": {"expect": {"python.version": "2.7"}}})
    broken.start()
    assert ended(broken) == 3, broken.text
    assert leases(pair) == []


def test_a_node_that_cannot_keep_a_lease_for_the_supervisor_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, recipe = tmp_path / "leases", tmp_path / "recipe.yaml"
    monkeypatch.setattr(leasing, "FOLDER", str(folder))
    (tmp_path / "rows.json").write_text('[{"instruction": "a", "input": "", "output": "b"}]', encoding="utf-8")
    recipe.write_text(RECIPE, encoding="utf-8")
    plan = draft(recipe).plan
    name = plan.nodes[0].name
    told: list[str] = []
    with leasing.held(plan, {name: LocalTransport(Node(name=name))}, told.append):
        folder.chmod(0o755)
    (line,) = told
    assert line.startswith(f"{name}: the leases of its devices cannot be kept")
    assert "has mode 755, not 1777" in line
    assert "the run has started" in line
