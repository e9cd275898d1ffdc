"""The three commands on two real nodes, on real input: what is told must be what one process would have told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import llmctl

SHARED = Path(__file__).parents[3] / "shared"
REAL_DATA = SHARED / "samples" / "data" / "alpaca_en_demo.json"
REAL_MODEL = SHARED / "reference" / "llamafactory"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.engine,
    pytest.mark.skipif(not REAL_DATA.is_file(), reason="needs ../shared/samples/data"),
]

CASES = {
    "ssh-torchrun-full": ("ssh", "torchrun", "full"),
    "ssh-deepspeed-lora": ("ssh", "deepspeed", "lora"),
    "pdsh-full": ("pdsh", "deepspeed", "full"),
    "pdsh-lora": ("pdsh", "deepspeed", "lora"),
}
ROWS = 200


def losses(run: Path) -> list[float]:
    lines = (run / "output" / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    return [record["loss"] for record in map(json.loads, lines) if record["record"] == "step"]


def write_recipe(path: Path, method: str, **sections: dict[str, Any]) -> Path:
    """A recipe beside real data and a real model, the global batch always 8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.parent / "data"
    data.mkdir(exist_ok=True)
    shutil.copy(REAL_DATA, data / REAL_DATA.name)
    for name in ("model", "adapters"):
        shutil.copytree(REAL_MODEL / name, path.parent / name, dirs_exist_ok=True)
    train: dict[str, Any] = {
        "method": method, "epochs": 1, "micro_batch": 4, "learning_rate": 1e-3, "precision": "fp32",
        "seed": 42, **sections.get("train", {}),
    }  # fmt: skip
    if method == "lora":
        train["lora"] = {"adapter": "adapters/lora_qv_r8"}
    recipe = {
        "name": "main-job",
        "cluster": {"device": "cpu", "devices_per_node": 1, **sections["cluster"]},
        "launch": sections["launch"],
        "model": {"path": "model", "stage": True, "template": "default@0.9.5"},
        "data": {
            "dir": "data",
            "datasets": ["alpaca_en_demo"],
            "cutoff_len": 512,
            "max_samples": ROWS,
            "packing": "none",
        },
        "train": train,
    }
    if "deepspeed" in sections:
        recipe["deepspeed"] = sections["deepspeed"]
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(recipe, file)
    return path


def only_run(runs: Path) -> Path:
    (run,) = (path for path in runs.iterdir() if path.is_dir())
    return run


@pytest.fixture(scope="session")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same job in one process, without DeepSpeed: the reference run's folder, made once a method."""
    made: dict[str, Path] = {}

    def reference(method: str) -> Path:
        if method not in made:
            root = tmp_path_factory.mktemp(f"one-{method}")
            recipe = write_recipe(
                root / "recipe.yaml",
                method,
                cluster={},
                launch={"backend": "local", "launcher": "torchrun"},
                train={"grad_accum": 2},
            )
            llmctl("run", recipe, "--runs", root / "runs", code=0)
            made[method] = only_run(root / "runs")
        return made[method]

    return reference


@pytest.mark.parametrize("case", CASES)
def test_two_nodes_train_as_one_process_does(
    case: str, lab: Any, one_process: Callable[[str], Path], tmp_path: Path
) -> None:
    backend, launcher, method = CASES[case]
    reference = one_process(method)
    recipe = write_recipe(
        tmp_path / "two nodes" / "recipe.yaml",
        method,
        cluster={"nodes": [node.name for node in lab.nodes], "workdir": lab.nodes[0].workdir, "python": lab.python},
        launch={"backend": backend, "launcher": launcher},
        deepspeed={"stage": 2},
    )
    runs = tmp_path / "runs"
    llmctl("run", recipe, "--runs", runs, env=lab.env, code=0)
    run = only_run(runs)

    ours, theirs = losses(run), losses(reference)
    assert len(ours) == len(theirs) == ROWS // 8
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1e-4

    told = llmctl("report", run, "--compare", reference, "--format", "json", env=lab.env, code=0)
    (comparison,) = json.loads(told.stdout)["comparisons"]
    assert comparison["verdict"] == "PASS"
    assert comparison["alignment"]["common"] == ROWS // 8
    assert comparison["abs_error"]["max"] <= 1e-4
