"""Faults of processes on the nodes."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeDrill

pytestmark = pytest.mark.lab


def test_rank_killed(drill: MakeDrill) -> None:
    run = drill()
    run.start()
    run.until_step(7)
    run.hurt()
    run.order(1, "signal 9")
    run.ends(1, "FAILED first: node2 rank 1 (exit code 137): ended by signal 9", within=15)
    assert run.left() == []
    assert run.lost_steps() <= 5 + 5
    run.continues()
