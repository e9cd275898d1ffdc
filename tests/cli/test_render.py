"""`llmctl render` and `llmctl recipes`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from llmctl.resources import data_dir
from tests.conftest import RunLlmctl

RECIPE = "baichuan13b_2x8npu"


def test_render_writes_every_file_and_starts_nothing(run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    done = run_llmctl("render", RECIPE, "-o", tmp_path / "out", "--set", "train.epochs=1", code=0, cwd=tmp_path)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"recipe.yaml", "hostfile", "ds_config.json", "engine.json", "env.sh", "enter.sh", "launch.sh"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert json.loads((tmp_path / "out" / "engine.json").read_text())["train"]["epochs"] == 1
    run_id = json.loads((tmp_path / "out" / "engine.json").read_text())["run_id"]
    assert f"node2: bash /data/llmctl/runs/{run_id}/launch.sh 1" in done.stdout


def test_render_without_a_folder_shows_the_files(run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    done = run_llmctl("render", RECIPE, code=0, cwd=tmp_path)
    assert "--- hostfile\nnode1 slots=8\nnode2 slots=8\n" in done.stdout
    assert "world size 16, batch 512" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_exits_2_and_leaves_nothing(run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    done = run_llmctl("render", RECIPE, "-o", tmp_path / "out", "--set", "train.epoch=1", code=2)
    assert "did you mean epochs?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_deepspeed_mistake_exits_2_and_leaves_nothing(run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    word = "deepspeed.zero_optimization.overlap_com=true"
    done = run_llmctl("render", RECIPE, "-o", tmp_path / "out", "--set", word, code=2)
    assert "did you mean overlap_comm?" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_told(run_llmctl: RunLlmctl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_llmctl("render", RECIPE, "-o", tmp_path / "file" / "out", code=2)
    assert "cannot write" in done.stderr


def test_recipes_list_names_every_shipped_recipe(run_llmctl: RunLlmctl) -> None:
    shipped = {path.stem for path in data_dir("recipes").glob("*.yaml")}
    rows = json.loads(run_llmctl("recipes", "list", "--json", code=0).stdout)
    assert {row["name"] for row in rows} == shipped
    text = run_llmctl("recipes", "list", code=0).stdout
    assert all(name in text for name in shipped)
    assert "\x1b" not in text


def test_recipes_show_gives_the_file(run_llmctl: RunLlmctl) -> None:
    done = run_llmctl("recipes", "show", "quickstart", code=0)
    assert done.stdout == (data_dir("recipes") / "quickstart.yaml").read_text(encoding="utf-8")
    assert run_llmctl("recipes", "show", "nothing", code=2).stderr.startswith("llmctl: nothing: no such recipe")


@pytest.mark.parametrize("path", sorted(data_dir("recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_every_shipped_recipe(run_llmctl: RunLlmctl, path: Path) -> None:
    schema = json.loads(run_llmctl("recipes", "schema", code=0).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = YAML(typ="safe").load(path)
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"nmae": "x"}, schema)
