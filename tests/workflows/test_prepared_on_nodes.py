"""What is prepared on the launcher goes to the nodes in place of the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import llmctl
from tests.faults.harness import SMALLRANK
from tests.lab import Lab
from tests.workflows.jobs import only_run, write_recipe


@pytest.mark.engine
@pytest.mark.lab
def test_prepared_tokens_go_to_the_nodes_and_the_data_stays(lab: Lab, tmp_path: Path) -> None:
    python = f"{lab.nodes[0].workdir}/smallrank/python"
    for node in lab.nodes:
        lab.write(node, python, f"#!{lab.python} -S\n{SMALLRANK.read_text(encoding='utf-8')}", mode="755")
    env = {**lab.env, "LLMCTL_CACHE": str(tmp_path / "cache")}
    recipe = write_recipe(
        tmp_path,
        lab,
        cluster={"python": python},
        data={"datasets": ["numbers"], "cutoff_len": 128, "packing": "exact"},
        train={"max_steps": 2, "save_steps": 0},
    )
    llmctl("prepare", recipe, "--samples", "0", env=env, code=0)
    told = [llmctl("run", recipe, "--runs", tmp_path / name, env=env, code=0).stdout for name in ("first", "second")]
    run = only_run(tmp_path / "first")
    (here,) = (tmp_path / "cache" / "prepared").iterdir()
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    place = json.loads((run / "engine.json").read_text(encoding="utf-8"))["data"]["prepared"]
    for node in lab.nodes:
        assert f"{node.name}: copying prepared, " in told[0]
        assert f"{node.name}: copying prepared, " not in told[1]
        files = lab.exec(node, f"cd {place} && find . -type f | sort && sha256sum ids.npy").stdout.split()
        assert files[:-2] == sorted(f"./{name}" for name in [*manifest["trained_on"]["files"], "prepared.json"])
        assert files[-2] == manifest["trained_on"]["files"]["ids.npy"]
    assert "copying data" not in told[0]
    assert Path(place).parent.name == "prepared"
    assert manifest["trained_on"]["key"] == manifest["digests"]["prepared"] == json.loads(
        (here / "prepared.json").read_text(encoding="utf-8")
    )["key"]  # fmt: skip
