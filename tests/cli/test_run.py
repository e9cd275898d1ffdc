"""`llmctl run` and what follows it, where nothing is started."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunLlmctl

RECIPE: dict[str, Any] = {
    "name": "small",
    "cluster": {"device": "cpu"},
    "launch": {"backend": "local"},
    "model": {"init": {"model_type": "llama"}},
    "data": {"dir": "data", "datasets": ["d"]},
}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "LLMCTL_HOME": str(tmp_path / "home"), "LLMCTL_RUNS": str(tmp_path / "runs")}


def write(folder: Path, rows: Any = None, **sections: Any) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    given = [{"instruction": "Q", "output": "A"}] if rows is None else rows
    (folder / "data" / "d.json").write_text(json.dumps(given))
    path = folder / "r.yaml"
    path.write_text(json.dumps(RECIPE | sections))  # JSON is YAML
    return path


@pytest.mark.parametrize(
    ("rows", "sections", "words"),
    [
        (
            [{"instruction": "Q"}, {"instruction": "Q", "output": "A"}],
            {},
            ("d: 1 row with no output (1)", "broken_rows"),
        ),
        ({"instruction": "Q"}, {}, ("must be a list of rows",)),
        (None, {"model": {"path": "empty"}}, ("is no model folder", "config.json")),
        (None, {"model": {"path": "gone"}}, ("no such folder",)),
        (None, {"model": {"init": {}, "pth": "m"}}, ("pth", "did you mean")),
        (None, {"train": {"epochs": "many"}}, ("train.epochs",)),
        (None, {"report": {"reference": "gone.log"}}, ("no such file", "report.reference")),
        (None, {"deepspeed": {"stage": 2, "zero_optimisation": {}}}, ("zero_optimisation", "did you mean")),
    ],
)
def test_bad_input_is_told_and_nothing_is_made(
    rows: Any,
    sections: dict[str, Any],
    words: tuple[str, ...],
    env: dict[str, str],
    tmp_path: Path,
    run_llmctl: RunLlmctl,
) -> None:
    (tmp_path / "empty").mkdir()
    done = run_llmctl("run", write(tmp_path, rows, **sections), env=env, code=2)
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_device_that_the_engine_cannot_use_is_refused(env: dict[str, str], run_llmctl: RunLlmctl) -> None:
    done = run_llmctl("run", "llama2_7b_lora_sc7", env=env, code=2)
    assert "the bundled engine cannot train on sophgo" in done.stderr
    assert "llmctl render" in done.stderr


@pytest.mark.parametrize("words", [(), ("quickstart", "--resume", "x")])
def test_a_recipe_or_a_run_must_be_given(words: tuple[str, ...], env: dict[str, str], run_llmctl: RunLlmctl) -> None:
    assert "give a recipe, or --resume with a run" in run_llmctl("run", *words, env=env, code=2).stderr


def test_a_dry_run_shows_the_commands_and_makes_nothing(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    done = run_llmctl("run", write(tmp_path), "--dry-run", env=env, code=0)
    assert "localhost: sh " in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_a_resumed_run_starts_nothing_either(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    run = tmp_path / "runs" / "small-20261121-093000-kqzt"
    run.mkdir(parents=True)
    recipe = write(tmp_path)
    (run / "recipe.yaml").write_bytes(recipe.read_bytes())
    job = {"run_id": run.name, "run_dir": str(run), "nodes": ["localhost"], "python": "python3", "shell": "sh"}
    known = {"schema": 1, "state": "FAILED", "recipe": {"path": str(recipe)}}
    manifest = json.dumps(known | {"job": job, "nodes": [{"name": "localhost"}]})
    (run / "manifest.json").write_text(manifest)
    done = run_llmctl("run", "--resume", run, "--dry-run", env=env, code=0)
    assert f"{run.name}/launch.sh 0" in done.stdout
    assert {path.name for path in run.iterdir()} == {"recipe.yaml", "manifest.json"}
    assert (run / "manifest.json").read_text() == manifest


def test_without_runs_the_others_say_so(env: dict[str, str], run_llmctl: RunLlmctl) -> None:
    assert "no runs yet" in run_llmctl("ps", env=env, code=0).stdout
    assert json.loads(run_llmctl("ps", "--json", env=env, code=0).stdout) == []
    for command in ("status", "logs", "report"):
        assert "there is no run yet" in run_llmctl(command, env=env, code=2).stderr
    assert "no run" in run_llmctl("cancel", "nothing", env=env, code=2).stderr


@pytest.mark.engine
def test_a_whole_run_on_this_machine_and_what_can_be_asked_of_it(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    from tests.engine.runs import INIT, rows

    data = {"dir": "data", "datasets": ["d"], "packing": "none"}
    recipe = write(tmp_path, rows(16), model={"init": INIT}, data=data, train={"epochs": 1, "micro_batch": 4})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env["TMPDIR"] = str(scratch)
    told = run_llmctl("run", recipe, env=env, code=0).stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert f"SUCCEEDED: {run.name}, 4 steps" in told
    assert f"next: llmctl report {run.name}" in told
    listed = json.loads(run_llmctl("ps", "--refresh", "--json", env=env, code=0).stdout)
    assert [(row["run"], row["state"]) for row in listed] == [(run.name, "SUCCEEDED")]
    status = json.loads(run_llmctl("status", "--json", env=env, code=0).stdout)
    assert (status["state"], status["step"], status["total_steps"]) == ("SUCCEEDED", 4, 4)
    assert "SUCCEEDED" in run_llmctl("status", run.name[:8], env=env, code=0).stdout
    lines = run_llmctl("logs", "--grep", "step 4/4", env=env, code=0).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["[localhost rank0] step 4/4"]
    assert "no node other in this run" in run_llmctl("logs", "--node", "other", env=env, code=2).stderr
    assert "no rank 1 in this run" in run_llmctl("logs", "--rank", "1", env=env, code=2).stderr
    assert "no regular expression" in run_llmctl("logs", "--grep", "(", env=env, code=2).stderr
    manifest = json.loads((run / "manifest.json").read_text())
    assert [entry["state"] for entry in manifest["states"]] == ["STAGING", "RUNNING", "SUCCEEDED"]
    assert manifest["exit_codes"] == {"localhost": 0}
    assert manifest["rows"] == 16
    assert json.loads((run / "env" / "localhost.json").read_text())
    assert "has SUCCEEDED" in run_llmctl("run", "--resume", run.name, env=env, code=2).stderr
    assert (run / "env.sh").stat().st_mode & 0o077 == 0
    assert not list(scratch.glob("torchelastic_*"))


@pytest.mark.engine
def test_without_a_checkpoint_a_failed_run_starts_anew(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    from tests.engine.runs import INIT, rows

    broken = {"init": {**INIT, "hidden_size": 33}}
    recipe = write(tmp_path, rows(16), model=broken, train={"epochs": 1, "micro_batch": 4})
    run_llmctl("run", recipe, env=env, code=1)
    (run,) = (tmp_path / "runs").iterdir()
    mended = ("--set", "model.init.hidden_size=32")
    again = run_llmctl("run", "--resume", run.name, *mended, env=env, code=0).stdout
    assert "no good checkpoint on all nodes: starting from the beginning" in again
