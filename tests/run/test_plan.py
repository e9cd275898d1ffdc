"""What follows from a recipe."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe
from llmctl.run.ids import new_run_id
from llmctl.run.plan import NodePaths, Plan, make_plan

NODES = [Node(name="node1", slots=8), Node(name="node2", address="10.0.0.2", slots=4)]


def plan(cluster: dict[str, Any] | None = None, **found: Any) -> Plan:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "cluster": {"device": "npu", "nodes": ["node[1-2]"], "workdir": "/w", **(cluster or {})},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
            "train": {"micro_batch": 2, "grad_accum": 3},
        }
    )
    paths = NodePaths(run_dir="/w/runs/r", engine_dir="/e", data_dir="/d", model_path="/m", adapter_path=None)
    return make_plan(recipe, NODES, run_id="r", paths=paths, **found)


def test_ranks_and_batches_count_the_slots_of_each_node() -> None:
    made = plan()
    assert [(node.rank, node.first_rank, node.slots) for node in made.nodes] == [(0, 0, 8), (1, 8, 4)]
    assert made.world_size == 12
    assert made.global_batch == 72


def test_what_was_found_on_the_nodes_stands_where_the_recipe_is_silent() -> None:
    made = plan(addresses={"node1": "10.0.0.1"}, interfaces={"node1": "eth0", "node2": None}, master_port=4000)
    assert [node.address for node in made.nodes] == ["10.0.0.1", "10.0.0.2"]
    assert [node.interface for node in made.nodes] == ["eth0", None]
    assert (made.master_addr, made.master_port) == ("10.0.0.1", 4000)


def test_the_recipe_wins() -> None:
    made = plan(
        {"master_addr": "head", "master_port": 5000, "interface": "bond0", "python": "/env/bin/python"},
        addresses={"node1": "10.0.0.1"},
        interfaces={"node1": "eth0"},
        master_port=4000,
        python="python3",
    )
    assert (made.master_addr, made.master_port, made.python) == ("head", 5000, "/env/bin/python")
    assert {node.interface for node in made.nodes} == {"bond0"}


@pytest.mark.parametrize(
    ("samples", "train", "steps"),
    [
        (None, {}, None),
        (None, {"max_steps": 7}, 7),
        (720, {"epochs": 1}, 10),
        (721, {"epochs": 1}, 11),
        (720, {"epochs": 2.5}, 25),
        (1, {"epochs": 3}, 3),
    ],
)
def test_steps_follow_from_the_samples(samples: int | None, train: dict[str, Any], steps: int | None) -> None:
    made = plan()
    recipe = made.recipe.model_copy(update={"train": made.recipe.train.model_copy(update=train)})
    assert replace(made, recipe=recipe).steps(samples) == steps


def test_run_ids_are_names_of_folders_and_differ() -> None:
    ids = {new_run_id("r") for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"r-\d{8}-\d{6}-[a-z]{4}", run_id) for run_id in ids)
