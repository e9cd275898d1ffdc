"""torchrun that replaces lost ranks: what is rendered, and what the real one makes of it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import UsageError
from llmctl.recipe.hosts import parse_nodes
from llmctl.recipe.schema import Recipe
from llmctl.render.commands import commands
from llmctl.render.files import render
from llmctl.run.plan import NodePaths, Plan, make_plan

ENGINE = """
import json, os, signal, sys, time
rank, here = os.environ["RANK"], os.path.join("output", "rank" + os.environ["RANK"])
with open(here, "a") as file:
    file.write(json.dumps([rank, os.environ["LLMCTL_NODE"], json.load(open(sys.argv[1]))["resume"]]) + "\\n")
tries = {name: len(open(os.path.join("output", name)).readlines()) for name in os.listdir("output")}
if rank == "1" and tries["rank1"] == 1:
    os.kill(os.getpid(), signal.SIGKILL)
deadline = time.time() + 60
while len(open(os.path.join("output", "rank1")).readlines()) < 2:  # as a rank that waits in a collective
    time.sleep(0.1)
    if time.time() > deadline:
        sys.exit("rank 1 was not started again")
"""


def plan_of(folder: Path, elastic: int, addresses: dict[str, str], **cluster: Any) -> Plan:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "cluster": {"device": "cpu", "nodes": list(addresses), "workdir": str(folder), **cluster},
            "launch": {"elastic": elastic},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
        }
    )
    paths = NodePaths(
        run_dir=f"{folder}/run", engine_dir=f"{folder}/engine", data_dir="/d", model_path="/m", adapter_path=None
    )
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    nodes = parse_nodes(addresses)
    return make_plan(
        recipe, nodes, run_id="r-1", paths=paths, addresses=addresses, master_port=port, python=sys.executable
    )


def test_elastic_closes_the_traps_of_torchrun(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 2, {"node1": "10.0.0.1", "node2": "10.0.0.2"})
    files = render(plan)
    text = files["launch.sh"]
    assert "--max-restarts=2 " in text
    assert "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1\n" in text
    assert "--rdzv-backend=c10d" in text
    assert f"--rdzv-endpoint=10.0.0.1:{plan.master_port}" in text
    assert "0) LLMCTL_ADDRESS=10.0.0.1 LLMCTL_HOST=true" in text
    assert "1) LLMCTL_ADDRESS=10.0.0.2 LLMCTL_HOST=false" in text
    assert "--nnodes=2 " in text, "the world never shrinks"
    assert not re.search("--(node-rank|master-addr)", text)
    assert json.loads(files["engine.json"])["resume"] is True
    plain = render(plan_of(tmp_path, 0, {"node1": "10.0.0.1", "node2": "10.0.0.2"}))
    assert "--max-restarts" not in plain["launch.sh"]
    assert json.loads(plain["engine.json"])["resume"] is False


def test_an_ipv6_rendezvous_stands_in_brackets(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 1, {"node1": "fd00::1", "node2": "fd00::2"})
    assert f"--rdzv-endpoint='[fd00::1]:{plan.master_port}'" in render(plan)["launch.sh"]


def test_another_first_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="torchrun would make node2 the first node") as refused:
        plan_of(tmp_path, 1, {"node1": "10.0.0.9", "node2": "10.0.0.10"})
    assert "name node2 first in cluster.nodes" in refused.value.hint
    assert plan_of(tmp_path, 0, {"node1": "10.0.0.9", "node2": "10.0.0.10"}).nodes[0].name == "node1"


@pytest.mark.engine
def test_a_lost_rank_is_replaced_and_the_ranks_stay_on_their_nodes(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 1, {"node1": "127.0.0.1", "node2": "127.0.0.2"})
    (tmp_path / "run" / "output").mkdir(parents=True)
    (tmp_path / "engine" / "llmctl_engine").mkdir(parents=True)
    (tmp_path / "engine" / "llmctl_engine" / "__init__.py").write_text("")
    (tmp_path / "engine" / "llmctl_engine" / "__main__.py").write_text(ENGINE)
    for name, text in render(plan).items():
        (tmp_path / "run" / name).write_text(text, encoding="utf-8")
    started = [
        subprocess.Popen(
            ["sh", "-c", each.command], cwd="/", env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for each in commands(plan)
    ]
    told = [process.communicate(timeout=150)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    for rank, node in (("0", "node1"), ("1", "node2")):
        lines = [json.loads(line) for line in (tmp_path / f"run/output/rank{rank}").read_text().splitlines()]
        assert len(lines) >= 2
        assert all(line == [rank, node, True] for line in lines)
