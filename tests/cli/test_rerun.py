"""`llmctl rerun`: the same run once more, and its comparison with the first."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.jobs import LocalJob
from tests.conftest import RunLlmctl, llmctl
from tests.engine.runs import INIT, rows, write_data
from tests.faults.harness import SMALLRANK
from tests.lab import Lab
from tests.workflows.jobs import only_run, write_recipe


@pytest.fixture
def job(tmp_path: Path) -> Iterator[LocalJob]:
    made = LocalJob(tmp_path, steps=24)
    yield made
    made.close()


def test_a_run_is_made_again_and_compared_with_the_first(job: LocalJob, tmp_path: Path) -> None:
    job.tell("run", job.recipe)
    first = job.run
    told = job.tell("rerun", first.name, "--profile", "exact").stdout
    (second,) = (path for path in job.runs.iterdir() if path != first)
    assert f"SUCCEEDED: {second.name}" in told
    assert "PASS: " in told
    assert told.splitlines()[-1] == f"report: {second}/report/report.html"
    value = json.loads((second / "report/report.json").read_text(encoding="utf-8"))
    assert value["comparisons"][0]["profile"] == "exact"
    assert value["comparisons"][0]["reference"] == f"{first}/output/steps.jsonl"
    manifests = [json.loads((run / "manifest.json").read_text(encoding="utf-8")) for run in (first, second)]
    assert manifests[0]["digests"] == manifests[1]["digests"] != {}
    assert (first / "recipe.yaml").read_text() == (second / "recipe.yaml").read_text()
    (tmp_path / "data" / "rows.json").write_text('[{"instruction": "count", "input": "", "output": "off"}]')
    refused = job.tell("rerun", first.name, code=2).stderr
    assert f"the data is not what {first.name} was trained on" in refused
    assert "its digest was " in refused
    assert len(list(job.runs.iterdir())) == 2


def test_what_cannot_be_made_again(job: LocalJob) -> None:
    run = job.runs / "local-20261121-093000-kqzt"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"state": "RUNNING", "job": {}}))
    assert "has not ended" in job.tell("rerun", run.name, code=2).stderr
    (run / "manifest.json").write_text(json.dumps({"state": "FAILED"}))
    assert "no log in this folder" in job.tell("rerun", run.name, code=2).stderr
    assert "no run 'gone'" in job.tell("rerun", "gone", code=2).stderr
    assert "no profile 'x'" in job.tell("rerun", run.name, "--profile", "x", code=2).stderr


@pytest.mark.engine
def test_the_engine_repeats_its_losses_bit_by_bit_from_prepared_data_too(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    write_data(tmp_path / "data", rows(24))
    recipe = {
        "name": "small",
        "cluster": {"device": "cpu"},
        "launch": {"backend": "local"},
        "model": {"init": INIT},
        "data": {"datasets": ["numbers"], "cutoff_len": 64, "packing": "none"},
        "train": {"epochs": 1, "micro_batch": 2, "learning_rate": 1e-3},
        "report": {"profile": "exact"},
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    env = {**os.environ, "LLMCTL_HOME": str(tmp_path / "home"), "LLMCTL_RUNS": str(tmp_path / "runs")}
    env["LLMCTL_CACHE"] = str(tmp_path / "cache")
    run_llmctl("run", tmp_path / "r.yaml", env=env, timeout=600, code=0)
    (first,) = (tmp_path / "runs").iterdir()
    run_llmctl("prepare", tmp_path / "r.yaml", "--samples", "0", env=env, code=0)
    told = run_llmctl("rerun", first, env=env, timeout=600, code=0).stdout
    assert "trains on what is prepared: 24 examples" in told
    assert "PASS: " in told
    (second,) = (path for path in (tmp_path / "runs").iterdir() if path != first)
    comparison = json.loads((second / "report/report.json").read_text(encoding="utf-8"))["comparisons"][0]
    assert (comparison["abs_error"]["max"], comparison["alignment"]["common"]) == (0.0, 12)
    manifests = [json.loads((run / "manifest.json").read_text(encoding="utf-8")) for run in (first, second)]
    assert manifests[0]["trained_on"] == manifests[1]["trained_on"]  # the first prepared it by itself
    assert (
        manifests[0]["trained_on"]["key"] == manifests[0]["digests"]["prepared"] == manifests[1]["digests"]["prepared"]
    )
    assert set(manifests[0]["trained_on"]["files"]) > {"ids.npy", "labels.npy"}
    edited = (tmp_path / "r.yaml").read_text(encoding="utf-8").replace('"cutoff_len": 64', '"cutoff_len": 48')
    (first / "recipe.yaml").write_text(edited, encoding="utf-8")
    refused = run_llmctl("rerun", first, env=env, code=2).stderr
    assert f"the key of the tokens is not what {first.name} was trained on" in refused


@pytest.mark.lab
def test_the_same_nodes_make_it_again_unless_others_are_named(lab: Lab, tmp_path: Path) -> None:
    python = f"{lab.nodes[0].workdir}/smallrank/python"
    for node in lab.nodes:
        lab.write(node, python, f"#!{lab.python} -S\n{SMALLRANK.read_text(encoding='utf-8')}", mode="755")
    recipe = write_recipe(
        tmp_path,
        lab,
        cluster={"python": python},
        model={"init": {"model_type": "llama", "vocab_size": 600}},
        train={"max_steps": 12, "save_steps": 0},
    )
    runs = tmp_path / "runs"
    llmctl("run", recipe, "--runs", runs, env=lab.env, code=0)
    first = only_run(runs)
    edited = recipe.read_text(encoding="utf-8").replace("max_steps: 12", "max_steps: 99")
    recipe.write_text(edited, encoding="utf-8")  # the copy in the run's folder is what counts
    llmctl("rerun", first, "--profile", "exact", env=lab.env, code=0)
    (second,) = (path for path in runs.iterdir() if path != first)
    assert nodes_of(second) == nodes_of(first) == ["node1", "node2"]
    llmctl("rerun", first, "--set", "cluster.nodes=[node2]", env=lab.env, code=4)  # half the batch: too few points
    (third,) = (path for path in runs.iterdir() if path not in (first, second))
    assert nodes_of(third) == ["node2"]
    text = (third / "report/report.md").read_text(encoding="utf-8")
    assert "| run.world\\_size | 1 | 2 |" in text.replace("world_size", "world\\_size")
    (tmp_path / "data" / "numbers.json").write_text("[]")
    refused = llmctl("rerun", first, env=lab.env, code=2).stderr
    assert "no row to train on" in refused
    write_data(tmp_path / "data", rows(47))
    refused = llmctl("rerun", first, env=lab.env, code=2).stderr
    assert f"the data is not what {first.name} was trained on" in refused
    assert len(list(runs.iterdir())) == 3


def nodes_of(run: Path) -> list[str]:
    return [node["name"] for node in json.loads((run / "manifest.json").read_text(encoding="utf-8"))["nodes"]]
