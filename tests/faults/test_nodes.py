"""Nodes that go away."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeDrill
from tests.faults.harness import SAVE_STEPS

pytestmark = pytest.mark.lab


def test_node_rebooted(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[1]
    run.start()
    run.until_step(7)
    run.hurt()
    run.lab.restart(node)
    run.ends(5, f"{run.run.name} lost node2", within=30)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_node_loses_its_power(own_drill: MakeDrill) -> None:
    """It says nothing any more, not even that its connections are closed."""
    run = own_drill()
    node = run.lab.nodes[1]
    run.start()
    run.until_step(7)
    run.hurt()
    run.lab.cut(node)
    run.lab.crash(node)
    run.ends(5, "no answer from node2", f"{run.run.name} lost node2", within=75)
    assert run.left(run.lab.nodes[0]) == []
    run.lab.restart(node)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()


def test_first_node_lost(own_drill: MakeDrill) -> None:
    run = own_drill()
    node = run.lab.nodes[0]
    run.start()
    run.until_step(7)
    run.hurt()
    run.lab.cut(node)
    run.lab.crash(node)
    run.ends(5, "no answer from node1", f"{run.run.name} lost node1", within=75)
    assert run.left(run.lab.nodes[1]) == []
    run.lab.restart(node)
    assert run.left() == []
    assert run.lost_steps() <= SAVE_STEPS
    run.continues()
