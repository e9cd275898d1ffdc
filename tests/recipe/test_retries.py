"""What a recipe may say of retries, spares and elastic ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from llmctl.errors import UsageError
from llmctl.recipe.hosts import recipe_nodes, spare_nodes
from llmctl.recipe.load import LoadedRecipe, load_recipe


def load(folder: Path, launch: dict[str, Any], **cluster: Any) -> LoadedRecipe:
    where = {"device": "cpu", "nodes": ["node[1-2]"], "workdir": "/data", "devices_per_node": 4, **cluster}
    recipe = {
        "name": "r",
        "cluster": {key: value for key, value in where.items() if value is not None},
        "launch": launch,
        "model": {"init": {"model_type": "llama"}},
        "data": {"datasets": ["d"]},
    }
    path = folder / "r.yaml"
    with path.open("w") as file:
        YAML().dump(recipe, file)
    return load_recipe(path)


def test_the_defaults_retry_nothing_and_list_every_reason(tmp_path: Path) -> None:
    launch = load(tmp_path, {}).recipe.launch
    assert (launch.retries, launch.spares, launch.elastic, launch.stall) == (0, (), 0, 1800)
    assert launch.on == ("node_lost", "ssh", "collective_timeout", "rank_killed")


@pytest.mark.parametrize(
    ("launch", "cluster", "told"),
    [
        ({"retrys": 2}, {}, "did you mean retries?"),
        ({"retries": 2, "on": ["node_losst"]}, {}, "did you mean node_lost?"),
        ({"retries": 2, "on": ["job_error"]}, {}, "launch.on.0: must be node_lost, ssh, collective_timeout"),
        ({"retries": -1}, {}, "launch.retries: must be at least 0"),
        ({"retries": 1, "on": []}, {}, "launch.on: must not be empty"),
        ({"spares": ["node5"]}, {}, "launch.spares: spares stand in when a run is started again"),
        (
            {"backend": "local", "retries": 1, "spares": ["node5"]},
            {"nodes": None, "workdir": None},
            "launch.spares: the local backend runs on this machine alone",
        ),
        ({"backend": "slurm", "retries": 1}, {}, "launch.retries: Slurm itself starts a run again"),
        ({"elastic": 1, "launcher": "deepspeed"}, {}, "launch.elastic: is torchrun's own"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, launch: dict[str, Any], cluster: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as mistake:
        load(tmp_path, launch, **cluster)
    assert told in str(mistake.value)


def test_spares_are_other_nodes_with_the_same_number_of_devices(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"retries": 1, "spares": ["root@node[3-4]:2222"]})
    nodes = recipe_nodes(loaded.recipe, tmp_path)
    spares = spare_nodes(loaded.recipe, nodes)
    assert [(spare.name, spare.user, spare.port, spare.slots) for spare in spares] == [
        ("node3", "root", 2222, 4),
        ("node4", "root", 2222, 4),
    ]
    twice = load(tmp_path, {"retries": 1, "spares": ["node[2-3]"]})
    with pytest.raises(UsageError, match="node2 runs already"):
        spare_nodes(twice.recipe, nodes)
