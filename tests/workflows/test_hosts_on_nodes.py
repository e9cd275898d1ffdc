"""A converted list works on real nodes: from an Ansible inventory to a checked recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RunLlmctl
from tests.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def inventory(lab: Lab, tmp_path: Path) -> Path:
    hosts = [
        f"{node.name} ansible_host={node.address} ansible_port={node.port} ansible_user={node.user}\n"
        for node in lab.nodes
    ]
    path = tmp_path / "cluster.ini"
    path.write_text("[workers]\n" + "".join(hosts) + "gone ansible_host=192.0.2.1\n[workers:vars]\nslots=2\n")
    return path


def test_the_nodes_of_an_inventory_are_reached(
    lab: Lab, inventory: Path, tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    made = tmp_path / "hostfile"
    words = ("hosts", "convert", inventory, "--to", "llmctl", "--only", "@workers!gone", "-o", made)
    assert "groups workers" in run_llmctl(*words, env=lab.env, code=0).stderr
    nodes = [line.split()[0] for line in made.read_text().splitlines()]
    done = run_llmctl("check", *nodes, "--only", "user.name", "--json", env=lab.env, code=0)
    facts = {fact["node"]: fact["value"] for fact in json.loads(done.stdout)["facts"] if fact["name"] == "user.name"}
    assert facts == {node.name: node.user for node in lab.nodes}


def test_show_agrees_with_what_setup_nodes_learned(lab: Lab, run_llmctl: RunLlmctl) -> None:
    rows = json.loads(run_llmctl("hosts", "show", *(node.name for node in lab.nodes), "--json", env=lab.env).stdout)
    shown = [(row["node"], row["address"], row["port"], row["user"]) for row in rows["nodes"]]
    assert shown == [(node.name, node.address, node.port, node.user) for node in lab.nodes]


def test_doctor_finds_what_setup_nodes_made_in_order(lab: Lab, run_llmctl: RunLlmctl) -> None:
    told = json.loads(run_llmctl("doctor", "--json", env=lab.env, code=0).stdout)
    found = {row["what"]: row for row in told["rows"]}
    for what in ("home", "key", "file.nodes.yaml", "file.known_hosts", "known_hosts", "inventory"):
        assert found[what]["health"] == "good", found[what]
    assert found["inventory"]["found"] == f"{len(lab.nodes)} nodes known"
