"""What every backend promises."""

from __future__ import annotations

from typing import get_args

import pytest

from llmctl.launch.backends import BACKENDS
from llmctl.launch.supervised import Job
from llmctl.recipe.schema import Launch

JOB = Job(run_id="r", run_dir="/nowhere", nodes=("a", "b"), python="python3", shell="sh")


def test_every_backend_of_a_recipe_is_there() -> None:
    assert set(get_args(Launch.model_fields["backend"].annotation)) == set(BACKENDS)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_contract(name: str) -> None:
    backend = BACKENDS[name]
    assert set(backend.starters(JOB)) <= set(JOB.nodes)
    assert JOB.nodes[0] in backend.starters(JOB)
    # A node without a connection is an error of its own, never an exception, and order is kept.
    asked = backend.status(JOB, {})
    assert [(outcome.item, outcome.value is None, outcome.error is None) for outcome in asked] == [
        ("a", True, False),
        ("b", True, False),
    ]
    assert backend.cancel(JOB, {}, 1) == []
    assert backend.failure_in("step 3/7  loss 2.0") is None


def test_pdsh_tells_which_node_ended() -> None:
    line = "pdsh@node1: node2: ssh exited with exit code 137"
    assert BACKENDS["pdsh"].failure_in(line) == "node2 ended with exit code 137"
    assert BACKENDS["ssh"].failure_in(line) is None
