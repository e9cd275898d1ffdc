"""The main job on real nodes: failures are told, nothing is left, nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.run.folder import RunFolder
from tests.conftest import llmctl, set_up
from tests.lab import Lab
from tests.workflows.jobs import ENDLESS, Factory, Started, losses, only_run, processes, status, write_recipe

pytestmark = [pytest.mark.lab, pytest.mark.engine]


def test_a_killed_rank_is_named_first_and_everything_ends(lab: Lab, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, lab, train=ENDLESS)
    started = Started(recipe, lab, "--runs", str(tmp_path / "runs"), backlog=tmp_path / "out")
    started.until("step 2/")
    run = only_run(tmp_path / "runs")
    victim = next(
        line
        for line in lab.exec(lab.nodes[1], "ps -eo pid,args").stdout.splitlines()
        if "-m llmctl_engine engine.json" in line and "torch.distributed.run" not in line
    )
    lab.exec(lab.nodes[1], f"kill -9 {victim.split()[0]}")
    assert started.wait(60) == 1, started.text
    assert "FAILED first: node2 rank 1 (exit code 137): ended by signal 9" in started.text
    assert processes(lab, run.name) == []
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["state"] == "FAILED"
    assert manifest["failure"]["node"] == "node2"
    assert (run / "logs" / "node2" / "rank1.log").is_file()


def test_pdsh_tells_a_killed_rank_on_another_node(lab: Lab, tmp_path: Path) -> None:
    launch = {"backend": "pdsh", "launcher": "deepspeed"}
    recipe = write_recipe(tmp_path, lab, launch=launch, deepspeed={"stage": 2}, train=ENDLESS)
    started = Started(recipe, lab, "--runs", str(tmp_path / "runs"), backlog=tmp_path / "out")
    started.until("step 2/")
    run = only_run(tmp_path / "runs")
    (victim,) = (
        line
        for line in lab.exec(lab.nodes[1], "ps -eo pid,args").stdout.splitlines()
        if "-m llmctl_engine engine.json" in line and "sh -c" not in line
    )
    lab.exec(lab.nodes[1], f"kill -9 {victim.split()[0]}")
    assert started.wait(60) == 1, started.text
    assert "FAILED first: " in started.text
    assert processes(lab, run.name) == []
    # What the first attempt left in the logs is no failure of the second.
    done = llmctl("run", "--resume", run, "--set", "train.epochs=1", env=lab.env, code=0)
    assert f"SUCCEEDED: {run.name}, 12 steps" in done.stdout
    assert "exited with exit code" not in done.stdout


def test_an_error_of_the_engine_is_told_with_its_rank(lab: Lab, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, lab, model={"init": {"model_type": "llama", "hidden_size": 33, "vocab_size": 600}})
    done = llmctl("run", recipe, "--runs", tmp_path / "runs", env=lab.env, code=1)
    assert "FAILED first: node" in done.stderr
    assert ": model.init makes no model: " in done.stderr
    assert "Traceback" not in done.stderr
    assert f"next: llmctl logs {only_run(tmp_path / 'runs').name}" in done.stderr


def test_detach_ps_logs_status_and_a_cancel_that_spares_the_other_run(lab: Lab, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    one = write_recipe(tmp_path, lab, name="one", cluster={"nodes": ["node1"]}, train=ENDLESS)
    two = write_recipe(tmp_path, lab, name="two", cluster={"nodes": ["node1"]}, train=ENDLESS)
    for recipe in (one, two):
        done = llmctl("run", recipe, "--runs", runs, "--detach", env=lab.env, code=0)
        assert done.stdout.splitlines()[-1].startswith("detached; ")
    first, second = sorted(runs.iterdir())
    listed = {row["run"]: row for row in json.loads(llmctl("ps", "--json", env=lab.env, code=0).stdout)}
    assert listed[first.name]["state"] == listed[second.name]["state"] == "RUNNING"

    followed = llmctl("logs", first, "--rank", "0", "--grep", "samples of", env=lab.env, code=0)
    assert all(line.startswith("[node1 rank0] ") for line in followed.stdout.splitlines())
    done = llmctl("cancel", first.name, env=lab.env, code=0)
    assert "processes ended" in done.stdout
    assert processes(lab, first.name) == []
    assert status(lab, first)["state"] == "CANCELLED"
    assert status(lab, second)["state"] == "RUNNING"
    refused = llmctl("run", "--resume", second, env=lab.env, code=2)
    assert f"{second.name} is still running on node1" in refused.stderr
    assert processes(lab, second.name)
    assert llmctl("cancel", first, env=lab.env, code=2).stderr.startswith("llmctl: one-")
    llmctl("cancel", second, env=lab.env, code=0)


def test_ctrl_c_leaves_the_run_and_a_second_one_ends_it(lab: Lab, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, lab, train=ENDLESS)
    started = Started(recipe, lab, "--runs", str(tmp_path / "runs"), backlog=tmp_path / "out")
    started.until("step 2/")
    started.interrupt()
    assert started.wait() == 0, started.text
    run = only_run(tmp_path / "runs")
    assert f"llmctl cancel {run.name}" in started.text
    assert status(lab, run)["state"] == "RUNNING"
    llmctl("cancel", run, env=lab.env, code=0)

    again = Started(recipe, lab, "--runs", str(tmp_path / "more"), backlog=tmp_path / "out2")
    again.until("step 2/")
    again.interrupt()
    again.until("Once more")
    again.interrupt()
    assert again.wait() == 130, again.text
    ended = only_run(tmp_path / "more")
    assert processes(lab, ended.name) == []
    assert json.loads((ended / "manifest.json").read_text())["state"] == "CANCELLED"


@pytest.mark.parametrize("zero", [None, 2])
def test_a_resumed_run_on_two_nodes_is_the_uninterrupted_one(zero: int | None, lab: Lab, tmp_path: Path) -> None:
    extra = {"deepspeed": {"stage": zero}} if zero is not None else {}
    recipe = write_recipe(tmp_path, lab, train={"save_steps": 5, "save_total_limit": 3}, **extra)
    collect = ("--collect", "weights")
    llmctl("run", recipe, "--runs", tmp_path / "whole", *collect, env=lab.env, code=0)
    llmctl("run", recipe, "--runs", tmp_path / "runs", env=lab.env, code=0)
    run, whole = only_run(tmp_path / "runs"), only_run(tmp_path / "whole")
    assert (whole / "output" / "model.safetensors").is_file()
    assert not (run / "output" / "model.safetensors").exists()
    RunFolder(run).update_manifest(state="FAILED")
    # As if the run had died just after one node, and not yet the other, had its checkpoint of step 20.
    output = f"{lab.nodes[0].workdir}/runs/{run.name}/output"
    listed = [lab.exec(node, f"ls -d {output}/checkpoint-*").stdout.split() for node in lab.nodes]
    assert [[path.rpartition("-")[2] for path in sorted(each)] for each in listed] == [["15", "20", "24"]] * 2
    for node in lab.nodes:
        lab.exec(node, f"rm -r {output}/checkpoint-24")
    lab.exec(lab.nodes[1], f"rm -r {output}/checkpoint-20")
    done = llmctl("run", "--resume", run, env=lab.env, code=0)
    assert "continuing from checkpoint-15" in done.stdout
    assert losses(run) == losses(whole)
    results = [json.loads((each / "output" / "all_results.json").read_text()) for each in (run, whole)]
    assert results[0]["train_loss"] == pytest.approx(results[1]["train_loss"], rel=1e-6)
    assert results[0]["resumed_from_step"] == 15
    assert len(losses(run)) == 24


def test_nodes_that_share_a_file_system_are_served_once(fresh_lab: Factory, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    lab = fresh_lab(count=2, shared=shared)
    set_up(lab)
    recipe = write_recipe(
        tmp_path, lab, cluster={"workdir": str(shared)}, train={"save_steps": 10, "save_total_limit": 1}
    )
    done = llmctl("run", recipe, "--runs", tmp_path / "runs", env=lab.env, code=0)
    assert "node2: shares its file system with node1" in done.stdout
    assert "node2: copying" not in done.stdout
    run = only_run(tmp_path / "runs")
    output = shared / "runs" / run.name / "output"
    assert [path.name for path in output.glob("checkpoint-*")] == ["checkpoint-24"]
    assert {path.name for path in (output / "checkpoint-24").glob("rng_state_*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }
    assert len(losses(run)) == 24


def test_an_unreachable_node_stops_the_start_and_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, lab, cluster={"nodes": ["node1", "node9=127.0.0.1:1"]})
    done = llmctl("run", recipe, "--runs", tmp_path / "runs", env=lab.env, code=5)
    assert "1 of 2 nodes cannot be used" in done.stderr
    assert "node9" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_is_found_before_the_start_and_leaves_nothing(fresh_lab: Factory, tmp_path: Path) -> None:
    lab = fresh_lab(count=2, disk_mb=24)
    set_up(lab)
    recipe = write_recipe(tmp_path, lab, model={"path": "big", "stage": True, "init": None})
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "config.json").write_text("{}")
    with (tmp_path / "big" / "model.safetensors").open("wb") as file:
        file.truncate(40 * 1024 * 1024)
    done = llmctl("run", recipe, "--runs", tmp_path / "runs", env=lab.env, code=3)
    assert "disk.workdir.wrong: node[1-2]: " in done.stdout
    assert "43 MB needed: staging 43 MB" in done.stdout
    allowed = ("--allow-drift", "disk.workdir.wrong")
    done = llmctl("run", recipe, "--runs", tmp_path / "runs", *allowed, env=lab.env, code=5)
    assert "2 of 2 nodes failed; nothing was started" in done.stderr
    assert "No space left" in done.stderr or "free" in done.stderr
    assert list((tmp_path / "runs").iterdir()) == []
    for node in lab.nodes:
        # What was verified whole stays for the next run: it lies under its digest.
        left = lab.exec(node, f"ls {node.workdir}/runs {node.workdir}/models; find {node.workdir} -name '*.partial'")
        assert [line for line in left.stdout.splitlines() if line and not line.endswith(":")] == []


def test_a_node_without_python_is_told(fresh_lab: Factory, tmp_path: Path) -> None:
    lab = fresh_lab(count=2)
    set_up(lab)
    lab.exec(lab.nodes[1], "rm -f /usr/bin/python3 /usr/local/bin/python3 /usr/bin/python /usr/local/bin/python")
    done = llmctl("run", write_recipe(tmp_path, lab), "--runs", tmp_path / "runs", env=lab.env, code=5)
    assert "node2: has no Python 3" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_node_that_is_cut_off_is_lost(fresh_lab: Factory, tmp_path: Path) -> None:
    lab = fresh_lab(count=2)
    set_up(lab)
    recipe = write_recipe(tmp_path, lab, train=ENDLESS)
    started = Started(recipe, lab, "--runs", str(tmp_path / "runs"), backlog=tmp_path / "out")
    started.until("step 2/")
    lab.cut(lab.nodes[1])
    code = started.wait(150)
    assert code == 5, started.text
    assert "node2 does not answer" in started.text
    run = only_run(tmp_path / "runs")
    assert f"{run.name} lost node2" in started.text
    left = [line for line in lab.exec(lab.nodes[0], "ps -eo args").stdout.splitlines() if "llmctl_engine" in line]
    assert left == []
