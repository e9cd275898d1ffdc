"""`cluster.devices` and `launch.when_busy`: what fits together, and what the ranks get."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.recipe.schema import Recipe
from llmctl.render.files import render
from llmctl.run.plan import NodePaths, Plan, make_plan
from llmctl.workflows.leases import wanted

PATHS = NodePaths(run_dir="/w/runs/r", engine_dir="/e", data_dir="/d", model_path="/m", adapter_path=None)


def recipe(*, launch: dict[str, Any] | None = None, **cluster: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "r",
            "cluster": {"device": "npu", "nodes": ["a", "b"], "workdir": "/w", **cluster},
            "launch": launch or {},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
            "train": {"precision": "fp16"},
        }
    )


def plan(made: Recipe, nodes: tuple[Node, ...] | None = None) -> Plan:
    return make_plan(made, nodes or parse_nodes(made.cluster.nodes), run_id="r", paths=PATHS)


def test_a_process_a_device() -> None:
    made = recipe(devices=[4, 5, 6, 7])
    assert made.cluster.devices_per_node == 4
    assert plan(made).world_size == 8
    assert wanted(plan(made)) == {"a": (4, 5, 6, 7), "b": (4, 5, 6, 7)}


def test_without_numbers_the_first_devices_are_leased() -> None:
    assert wanted(plan(recipe(devices_per_node=2))) == {"a": (0, 1), "b": (0, 1)}


@pytest.mark.parametrize(("launch", "leased"), [({}, {}), ({"when_busy": "refuse"}, {"a": (0,), "b": (0,)})])
def test_a_cpu_is_leased_only_when_asked_for(launch: dict[str, Any], leased: dict[str, Any]) -> None:
    cpu = Recipe.model_validate(recipe(launch=launch).model_dump() | {"train": {}})
    cpu = cpu.model_copy(update={"cluster": cpu.cluster.model_copy(update={"device": "cpu"})})
    assert wanted(plan(cpu)) == leased


@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        ({"devices": [0, 1], "devices_per_node": 8}, "cluster.devices_per_node: is 8, but cluster.devices names 2"),
        ({"devices": [0, 0]}, "a device is named twice"),
        ({"devices": [-1]}, "greater than or equal to 0"),
        ({"devices": [0], "env": {"ASCEND_RT_VISIBLE_DEVICES": "1"}}, "cluster.env.ASCEND_RT_VISIBLE_DEVICES: is set"),
    ],
)
def test_what_does_not_fit_is_refused(cluster: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        recipe(**cluster)


def test_slurm_gives_devices_itself() -> None:
    slurm = {"backend": "slurm", "when_busy": "wait"}
    with pytest.raises(ValueError, match=re.escape("launch.when_busy: Slurm queues runs")):
        recipe(launch=slurm)


def test_slots_of_a_host_list_must_agree() -> None:
    with pytest.raises(UsageError, match=re.escape("a has slots=8, cluster.devices names 2")):
        plan(recipe(devices=[0, 1]), (Node(name="a", slots=8), Node(name="b", slots=8)))


def test_ranks_see_their_devices_only() -> None:
    torchrun = render(plan(recipe(devices=[2, 3])))
    assert "export ASCEND_RT_VISIBLE_DEVICES=2,3\n" in torchrun["env.sh"]
    assert "VISIBLE" not in render(plan(recipe(devices_per_node=2)))["env.sh"]


def test_deepspeeds_launcher_is_told_the_numbers() -> None:
    text = render(plan(recipe(launch={"launcher": "deepspeed"}, devices=[2, 3])))["launch.sh"]
    world = re.search(r"--world_info=(\S+)", text)
    assert world is not None
    assert json.loads(base64.urlsafe_b64decode(world[1])) == {"a": [2, 3], "b": [2, 3]}
