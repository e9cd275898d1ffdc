"""launch.sh as a person starts it: real torchrun and DeepSpeed launchers, an engine that only says where it is."""

from __future__ import annotations

import json
import os
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

HOSTILE = "a 'b' \"c\" $HOME `id`; echo foo\nline 2 中文"
ENGINE = """
import json, os, sys
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LLMCTL_RUN_ID", "LLMCTL_NODE", "HOSTILE", "ACTIVATED", "PYTHONPATH",
         "GLOO_SOCKET_IFNAME", "OWN_OF_NODE_0", "DS_ACCELERATOR")
here = {name: os.environ.get(name) for name in names} | {"argv": sys.argv[1:], "cwd": os.getcwd()}
with open(os.path.join("output", "rank" + os.environ["RANK"] + ".json"), "w") as file:
    json.dump(here, file)
"""
PDSH = """#!/bin/sh
# Stands for pdsh: what would go to the nodes runs here, in an environment as bare as sshd's.
printf '%s\\n' "$@" >{record}
env >{record}.env
hosts=$5
shift 5
rank=0
for host in $(echo "$hosts" | tr , ' '); do
    line=$(echo "$*" | sed "s/%n/$rank/g")
    env -i HOME="$HOME" PATH=/usr/bin:/bin sh -c "$line" &
    pids="$pids $!"
    rank=$((rank + 1))
done
for pid in $pids; do wait "$pid" || exit 1; done
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def write_run(folder: Path, backend: str, launcher: str, **cluster: Any) -> tuple[Plan, Path]:
    """A run folder for two nodes of one process each, rendered and written."""
    run_dir, engine = folder / "run", folder / "engine"
    (run_dir / "output").mkdir(parents=True)
    (engine / "llmctl_engine").mkdir(parents=True)
    (engine / "llmctl_engine" / "__init__.py").write_text("")
    (engine / "llmctl_engine" / "__main__.py").write_text(ENGINE)
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "cluster": {
                "device": "cpu",
                "nodes": ["node[1-2]"],
                "workdir": str(folder),
                "activate": ["export ACTIVATED=yes  # a comment"],
                "env": {"HOSTILE": HOSTILE, "PYTHONPATH": "/own/modules"},
                **cluster,
            },
            "launch": {"backend": backend, "launcher": launcher},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
            "deepspeed": {"stage": 2},
        }
    )
    paths = NodePaths(run_dir=str(run_dir), engine_dir=str(engine), data_dir="/d", model_path="/m", adapter_path=None)
    plan = make_plan(
        recipe,
        parse_nodes(["node1=127.0.0.1", "node2=127.0.0.1"]),
        run_id="r-20260101-000000-abcd",
        paths=paths,
        interfaces={"node1": "lo"},
        master_port=free_port(),
        python=sys.executable,
    )
    for name, text in render(plan).items():
        (run_dir / name).write_text(text, encoding="utf-8")
    return plan, run_dir


def ranks(run_dir: Path) -> list[dict[str, Any]]:
    files = sorted((run_dir / "output").glob("rank*.json"))
    return [json.loads(path.read_text()) for path in files]


def start(plan: Plan, **env: str) -> list[subprocess.CompletedProcess[str]]:
    """Run the very commands of a run side by side, from a folder that is not the run's."""
    processes = [
        subprocess.Popen(
            ["sh", "-c", command.command],
            cwd="/",
            env=os.environ | {"OWN_OF_NODE_0": "1", "PYTHONPATH": "/of/the/node"} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands(plan)
    ]
    return [
        subprocess.CompletedProcess(each.args, each.returncode, output, "")
        for each in processes
        for output in [each.communicate(timeout=120)[0]]
    ]


@pytest.mark.engine
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_every_node_starts_its_ranks(tmp_path: Path, launcher: str) -> None:
    folder = tmp_path / "a 'b'; echo foo 数据"
    plan, run_dir = write_run(folder, "ssh", launcher)
    for done in start(plan):
        assert done.returncode == 0, done.stdout
    told = ranks(run_dir)
    assert [each["RANK"] for each in told] == ["0", "1"]
    assert [each["LLMCTL_NODE"] for each in told] == ["node1", "node2"]
    assert [each["GLOO_SOCKET_IFNAME"] for each in told] == ["lo", None]
    for each in told:
        assert each["WORLD_SIZE"] == "2"
        assert each["HOSTILE"] == HOSTILE
        assert each["ACTIVATED"] == "yes"
        assert each["LLMCTL_RUN_ID"] == plan.run_id
        assert each["PYTHONPATH"].split(":")[:3] == [str(folder / "engine"), "/own/modules", "/of/the/node"]
        assert each["argv"] == ["engine.json"]
        assert each["cwd"] == str(run_dir)


@pytest.mark.engine
def test_pdsh_takes_nothing_of_the_first_node_along(tmp_path: Path) -> None:
    plan, run_dir = write_run(tmp_path, "pdsh", "deepspeed")
    assert [command.node for command in commands(plan)] == ["node1"]
    binaries, home, record = tmp_path / "bin", tmp_path / "home", tmp_path / "record"
    binaries.mkdir()
    home.mkdir()
    (home / ".deepspeed_env").write_text("\n# a comment, on which DeepSpeed stumbles\nLEAKED=1\n")
    (binaries / "pdsh").write_text(PDSH.replace("{record}", str(record)))
    (binaries / "pdsh").chmod(0o755)
    (done,) = start(
        plan, PATH=f"{binaries}:{os.environ['PATH']}", HOME=str(home), PYTHONHASHSEED="7", MLFLOW_TOKEN="secret"
    )
    assert done.returncode == 0, done.stdout
    told = ranks(run_dir)
    assert [(each["RANK"], each["WORLD_SIZE"], each["LLMCTL_NODE"]) for each in told] == [
        ("0", "2", "node1"),
        ("1", "2", "node2"),
    ]
    for each in told:
        assert each["HOSTILE"] == HOSTILE
        assert each["ACTIVATED"] == "yes"
        assert each["OWN_OF_NODE_0"] is None
        assert each["DS_ACCELERATOR"] is None
        assert each["PYTHONPATH"].split(":")[0] == str(tmp_path / "engine")
    words = record.read_text()
    assert words.startswith("-S\n-f\n1024\n-w\nnode1,node2\n")
    assert "--master_addr=127.0.0.1\n" in words
    for leaked in ("secret", "PYTHONHASHSEED", "LEAKED", "/of/the/node"):
        assert leaked not in words
    environment = (tmp_path / "record.env").read_text()
    assert "PDSH_RCMD_TYPE=ssh\n" in environment
    assert "BatchMode=yes -o StrictHostKeyChecking=yes" in environment


def test_pdsh_refuses_a_folder_that_deepspeed_cannot_quote(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pdsh cannot work in") as caught:
        write_run(tmp_path / "a b", "pdsh", "deepspeed")
    assert caught.value.where == "cluster.workdir"


@pytest.mark.parametrize(
    ("cluster", "code", "told"),
    [
        ({"activate": ["true", "test -e '/no such file'  # why"]}, 78, "test -e '/no such file'  # why"),
        ({"activate": ["cd /nowhere/at/all"]}, 78, "cd /nowhere/at/all"),
        ({"python": "/no/such/python"}, 127, "no /no/such/python on"),
    ],
)
def test_a_node_that_is_not_ready_says_why(tmp_path: Path, cluster: dict[str, Any], code: int, told: str) -> None:
    plan, _ = write_run(tmp_path, "ssh", "torchrun", **cluster)
    for done in start(plan):
        assert done.returncode == code, done.stdout
        assert told in done.stdout


def test_a_rank_that_no_node_has_is_refused(tmp_path: Path) -> None:
    _, run_dir = write_run(tmp_path, "ssh", "torchrun")
    for words in ((), ("2",), ("x; echo foo",)):
        done = subprocess.run(["bash", run_dir / "launch.sh", *words], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "usage" in done.stderr or "no node has rank" in done.stderr
