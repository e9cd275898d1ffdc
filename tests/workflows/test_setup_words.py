"""Which nodes and which environment the words of setup-nodes mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Cluster
from llmctl.workflows.setup_words import environment_of, read_words


def cluster(*activate: str, python: str | None = None) -> Cluster:
    return Cluster(device="npu", nodes=("n1",), workdir="/w", activate=activate, python=python)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (cluster(), (None, "/w/env")),
        (cluster("source /usr/local/Ascend/ascend-toolkit/set_env.sh"), (None, "/w/env")),
        (cluster("source x.sh", "conda activate llm"), ("conda", "/w/env")),
        (cluster("mamba activate /data/envs/llm"), ("mamba", "/data/envs/llm")),
        (cluster("source /opt/conda/bin/activate /data/llm"), ("/opt/conda/bin/conda", "/data/llm")),
        (cluster("source /data/venv/bin/activate"), (None, "/data/venv")),
        (cluster(". /data/venv/bin/activate"), (None, "/data/venv")),
        (cluster(python="/data/llm/bin/python"), (None, "/data/llm")),
        (cluster(python="python3.10"), (None, "/w/env")),
    ],
)
def test_a_recipe_names_its_environment(given: Cluster, wanted: tuple[str | None, str | None]) -> None:
    assert environment_of(given) == wanted


def test_a_recipe_names_its_nodes_and_their_account(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\ncluster: {device: cpu, nodes: ['node[1-2]'], workdir: /w, user: dev, port: 2222}\n"
        "model: {path: m}\ndata: {datasets: [d]}\n"
    )
    asked = read_words([str(recipe)], None)
    assert [node.name for node in asked.nodes] == ["node1", "node2"]
    assert (asked.user, asked.port, asked.env_path) == ("dev", 2222, "/w/env")


def test_an_inventory_file_names_all_its_hosts_or_those_that_are_chosen(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("hosts: {a: {address: 10.0.0.1}, b: }")
    assert [node.name for node in read_words([], file).nodes] == ["a", "b"]
    asked = read_words(["a:7"], file)
    assert asked.nodes == (Node(name="a", address="10.0.0.1", port=7),)
    assert list(asked.settings) == ["a"]


def test_without_words_and_file_nothing_is_named() -> None:
    with pytest.raises(UsageError, match="no node is named"):
        read_words([], None)
