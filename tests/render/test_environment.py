"""What the files say about users, ports and interfaces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmctl.recipe.hosts import parse_nodes
from llmctl.recipe.schema import Recipe
from llmctl.render.files import render
from llmctl.run.plan import NodePaths, make_plan


def files(*, prepared_dir: str | None = None, **cluster: Any) -> dict[str, str]:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "cluster": {"device": "cuda", "nodes": ["a", "b"], "workdir": "/w", **cluster},
            "launch": {"backend": "pdsh", "launcher": "deepspeed"},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
        }
    )
    paths = NodePaths(
        run_dir="/w/runs/r",
        engine_dir="/e",
        data_dir="/d",
        model_path="/m",
        adapter_path=None,
        prepared_dir=prepared_dir,
    )
    nodes = parse_nodes(recipe.cluster.nodes)
    return render(make_plan(recipe, nodes, run_id="r", paths=paths, interfaces={"a": "bond0", "b": "eth1"}))


def test_user_and_port_of_the_recipe_reach_pdsh() -> None:
    text = files(user="bob", port=2222)["launch.sh"]
    assert "-o User=bob -p 2222'" in text
    assert "-o User" not in files()["launch.sh"]


def test_each_node_has_its_own_interface_by_its_exact_name() -> None:
    text = files()["enter.sh"]
    assert "0) LLMCTL_NODE=a LLMCTL_SLOTS=1 LLMCTL_INTERFACE=bond0 ;;" in text
    assert "1) LLMCTL_NODE=b LLMCTL_SLOTS=1 LLMCTL_INTERFACE=eth1 ;;" in text
    assert 'export NCCL_SOCKET_IFNAME="=$LLMCTL_INTERFACE"' in text
    assert 'export GLOO_SOCKET_IFNAME="$LLMCTL_INTERFACE"' in text


def test_an_interface_variable_of_the_recipe_is_left_alone() -> None:
    made = files(env={"NCCL_SOCKET_IFNAME": "^docker0"})
    assert "NCCL_SOCKET_IFNAME" not in made["enter.sh"]
    assert "export NCCL_SOCKET_IFNAME='^docker0'" in made["env.sh"]


def test_a_container_sees_the_prepared_tokens_in_place_of_the_data() -> None:
    container = {"runtime": "podman", "image": "image"}
    assert "source=/d,destination=/d" in files(container=container)["container.sh"]
    made = files(prepared_dir="/cache/p", container=container)
    assert "source=/cache/p,destination=/cache/p" in made["container.sh"]
    assert "source=/d," not in made["container.sh"]
    assert json.loads(made["engine.json"])["data"]["prepared"] == "/cache/p"


@pytest.mark.parametrize("key", ["user", "master_addr"])
def test_what_pdsh_cannot_quote_is_no_user_and_no_address(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        files(**{key: "a b; echo foo"})
