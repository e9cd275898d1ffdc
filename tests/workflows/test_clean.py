"""`nodes clean` on real nodes: dead runs leave nothing, living ones and strangers keep everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab, LabNode

pytestmark = pytest.mark.lab

REFUSE = {"launch": {"when_busy": "refuse"}}


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Two nodes with the small rank, and one account more."""
    with ExitStack() as stack:
        lab = make_lab(stack, count=2)
        for node in lab.nodes:
            lab.exec(node, "useradd -m guest 2>/dev/null || true")
        yield lab


def clean(lab: Lab, *words: str | Path) -> dict[str, Any]:
    names = () if "--run" in words else tuple(node.name for node in lab.nodes)
    told = json.loads(llmctl("nodes", "clean", *names, *words, "--json", env=lab.env, code=0).stdout)
    return {row["node"]: row for row in told["nodes"]}


def orphan(lab: Lab, node: LabNode, run_id: str, account: str = "root") -> int:
    """A process with a run's id that nobody supervises."""
    script = f"LLMCTL_RUN_ID={run_id} setsid sleep 86400 >/dev/null 2>&1 </dev/null & echo $!"
    command = script if account == "root" else f"runuser -u {account} -- sh -c '{script}'"
    return int(lab.exec(node, command).stdout)


def lives(lab: Lab, node: LabNode, pid: int) -> bool:
    return lab.exec(node, f"kill -0 {pid}").ok


def test_dead_runs_leave_nothing_and_living_ones_keep_everything(pair: Lab, tmp_path: Path) -> None:
    first, second = pair.nodes
    running = Drill(pair, tmp_path / "running", name="running", sections=REFUSE)
    running.start()
    running.until_step(3)
    dead = orphan(pair, first, "dead-20260101-000000-aaaa")
    theirs = orphan(pair, first, "dead-20260101-000000-aaaa", account="guest")
    stranger = int(pair.exec(second, "setsid sleep 86400 >/dev/null 2>&1 </dev/null & echo $!").stdout)
    aside = f"{first.workdir}/data/0123.dead-20260101-000000-aaaa.partial"
    young = f"{first.workdir}/data/4567.dead-20260101-000000-aaaa.partial"
    for path in (aside, young):
        pair.write(first, f"{path}/rows.json", "[]")
    pair.exec(first, f"touch -d '2 hours ago' {aside}/rows.json {aside}")
    stale = '{"run_id": "dead-20260101-000000-aaaa", "boot_id": "another"}'
    pair.write(second, "/tmp/llmctl-leases/cpu-7.0", stale)

    shown = clean(pair, "--dry-run")
    assert [each["pid"] for each in shown["node1"]["found"]["processes"]] == [dead]
    assert [each["path"] for each in shown["node1"]["found"]["partial"]] == [aside]
    assert [each["device"] for each in shown["node2"]["found"]["leases"]] == ["cpu-7"]
    assert running.run.name in shown["node1"]["found"]["kept"]
    assert lives(pair, first, dead)

    done = clean(pair, "--yes")
    assert done["node1"]["done"] == {"ended": 1, "removed": 1, "errors": []}
    assert done["node2"]["done"] == {"ended": 0, "removed": 1, "errors": []}
    assert not lives(pair, first, dead)
    assert lives(pair, first, theirs)
    assert lives(pair, second, stranger)
    listed = pair.exec(first, f"ls {first.workdir}/data").stdout.split()
    assert aside.rpartition("/")[2] not in listed
    assert young.rpartition("/")[2] in listed
    step = max(running.records())
    until("the run goes on", lambda: max(running.records()) > step + 3)
    assert clean(pair, "--yes")["node1"]["done"] is None

    llmctl("cancel", running.run, env=pair.env, code=0)
    assert running.started is not None
    running.started.wait(60)
    for node, pid in ((first, theirs), (second, stranger)):
        pair.exec(node, f"kill {pid}")


def test_remains_of_one_run_on_its_nodes(pair: Lab, tmp_path: Path) -> None:
    over = Drill(pair, tmp_path / "over", name="over", steps=10)
    over.start()
    over.ends(0, "SUCCEEDED", within=90)
    mine = orphan(pair, pair.nodes[1], over.run.name)
    other = orphan(pair, pair.nodes[1], "other-20260101-000000-bbbb")
    done = clean(pair, "--run", over.run, "--yes")
    assert done["node2"]["done"]["ended"] == 1
    assert not lives(pair, pair.nodes[1], mine)
    assert lives(pair, pair.nodes[1], other)
    pair.exec(pair.nodes[1], f"kill {other}")


def test_old_run_folders_go_only_when_asked_for(pair: Lab, tmp_path: Path) -> None:
    over = Drill(pair, tmp_path / "old", name="old", steps=10)
    over.start()
    over.ends(0, "SUCCEEDED", within=90)
    pair.exec(pair.nodes[0], f"find {over.run_dir} -exec touch -d '40 days ago' {{}} +")
    assert clean(pair, "--dry-run")["node1"]["found"]["folders"] == []
    young = clean(pair, "--dry-run", "--folders", "--older-than", "50")
    assert young["node1"]["found"]["folders"] == []
    done = clean(pair, "--yes", "--folders", "--older-than", "30")
    assert [each["path"] for each in done["node1"]["found"]["folders"]] == [over.run_dir]
    assert not pair.exec(pair.nodes[0], f"ls {over.run_dir}").ok
    assert pair.exec(pair.nodes[1], f"ls {over.run_dir}").ok


def test_a_run_whose_other_node_was_not_asked_is_left_alone(pair: Lab, tmp_path: Path) -> None:
    over = Drill(pair, tmp_path / "unheard", name="unheard", steps=10)
    over.start()
    over.ends(0, "SUCCEEDED", within=90)
    manifest = over.run / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"state": "RUNNING"}))
    pid = orphan(pair, pair.nodes[1], over.run.name)
    told = json.loads(llmctl("nodes", "clean", "node2", "--yes", "--json", env=pair.env, code=0).stdout)
    assert told["nodes"][0]["found"]["kept"] == {over.run.name: "node1 did not say whether it is over there"}
    assert lives(pair, pair.nodes[1], pid)
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(record | {"backend": "slurm"}))
    assert clean(pair, "--yes")["node2"]["found"]["kept"] == {
        over.run.name: f"Slurm may start it again: llmctl status {over.run.name}"
    }
    manifest.write_text(json.dumps(record))
    assert clean(pair, "--yes")["node2"]["done"]["ended"] == 1


def test_questions_without_an_answer_are_refused(pair: Lab) -> None:
    assert "no terminal" in llmctl("nodes", "clean", "node1", env=pair.env, code=2).stderr
    assert "--run" in llmctl("nodes", "clean", "--dry-run", env=pair.env, code=2).stderr
    assert "--older-than" in llmctl("nodes", "clean", "node1", "--folders", "--dry-run", env=pair.env, code=2).stderr


def test_a_node_that_cannot_be_asked_is_told_beside_the_others(pair: Lab) -> None:
    done = llmctl("nodes", "clean", "node1", "node9=127.0.0.9:9", "--dry-run", env=pair.env, code=5)
    assert "node1: nothing is left over" in done.stdout
    assert "node9" in done.stderr
