"""Whether what is prepared fits a recipe, by what of it is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.recipe.load import load_recipe
from llmctl.workflows.fitting import find_fitting


@pytest.mark.parametrize(("backend", "here"), [("local", True), ("ssh", False)])
def test_an_absolute_folder_of_data_is_the_nodes_own(backend: str, here: bool, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.json").write_text('[{"instruction": "Q", "output": "A"}]')
    cluster = {"device": "cpu"} | ({} if backend == "local" else {"nodes": ["a"], "workdir": "/w"})
    recipe = {
        "name": "r",
        "cluster": cluster,
        "launch": {"backend": backend},
        "model": {"init": {"model_type": "llama", "vocab_size": 300}},
        "data": {"datasets": ["d"], "dir": "data"},
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert find_fitting(load_recipe(tmp_path / "r.yaml")).key is not None
    absolute = load_recipe(tmp_path / "r.yaml", [f"data.dir={tmp_path}/data"])
    assert (find_fitting(absolute).key is not None) == here
