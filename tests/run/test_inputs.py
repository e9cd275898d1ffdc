"""What lies beside a recipe and travels, and what must be on the nodes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import UsageError
from llmctl.recipe.schema import Recipe
from llmctl.run.inputs import survey
from llmctl.run.trees import make_tree

ROW = {"instruction": "Q", "output": "A"}


def recipe(backend: str = "ssh", **sections: dict[str, Any]) -> Recipe:
    cluster: dict[str, Any] = {"device": "cpu"}
    if backend != "local":
        cluster |= {"nodes": ["node1"], "workdir": "/work dir"}
    whole = {
        "name": "r",
        "cluster": cluster,
        "launch": {"backend": backend},
        "model": {"path": "m"},
        "data": {"datasets": ["d"]},
    }
    return Recipe.model_validate(whole | sections)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.json").write_text(json.dumps([ROW]))
    (tmp_path / "data" / "other.json").write_text("[1]")
    (tmp_path / "m" / "sub").mkdir(parents=True)
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "m" / "sub" / "w.safetensors").write_bytes(b"w")
    return tmp_path


def test_only_the_data_that_is_used_travels(folder: Path) -> None:
    inputs = survey(recipe(), folder)
    assert sorted(inputs.staged) == ["data", "engine"]
    assert list(inputs.staged["data"].files) == ["d.json"]
    paths = inputs.paths("/work dir", "/work dir/runs/r")
    assert paths.data_dir == f"/work dir/data/{inputs.staged['data'].digest[:16]}"
    assert paths.engine_dir == f"/work dir/engine/{inputs.staged['engine'].digest[:16]}"
    assert paths.model_path == "/work dir/m"  # weights stay on the nodes unless model.stage says otherwise


def test_the_engine_travels_without_caches(folder: Path) -> None:
    names = list(survey(recipe(), folder).staged["engine"].files)
    assert "llmctl_engine/config.py" in names
    assert not [name for name in names if "__pycache__" in name]


def test_digest_is_over_paths_sizes_and_contents(folder: Path) -> None:
    files = {"b": folder / "data" / "d.json", "a": folder / "m" / "config.json"}
    contents = (("a", b"{}"), ("b", json.dumps([ROW]).encode()))
    lines = "".join(f"{name}\0{len(text)}\0{hashlib.sha256(text).hexdigest()}\n" for name, text in contents)
    assert make_tree(files).digest == hashlib.sha256(lines.encode()).hexdigest()
    assert make_tree(files).size == sum(len(text) for _, text in contents)
    renamed = make_tree({"c": files["b"], "a": files["a"]})
    assert renamed.digest != make_tree(files).digest


def test_weights_and_adapter_travel_when_asked(folder: Path) -> None:
    (folder / "lora").mkdir()
    (folder / "lora" / "adapter_config.json").write_text("{}")
    (folder / "m" / "__pycache__").mkdir()
    (folder / "m" / "__pycache__" / "modeling.pyc").write_bytes(b"")
    given = recipe(model={"path": "m", "stage": True}, train={"method": "lora", "lora": {"adapter": "lora"}})
    inputs = survey(given, folder)
    assert sorted(inputs.staged["model"].files) == ["config.json", "sub/w.safetensors"]
    assert list(inputs.staged["adapter"].files) == ["adapter_config.json"]
    assert inputs.paths("/w", "/w/r").adapter_path == f"/w/models/{inputs.staged['adapter'].digest[:16]}"


def test_what_is_not_beside_the_recipe_is_on_the_nodes(folder: Path) -> None:
    inputs = survey(recipe(data={"dir": "far", "datasets": ["x"]}, model={"path": "/abs/m"}), folder)
    assert sorted(inputs.staged) == ["engine"]
    assert inputs.paths("/w", "/w/r").data_dir == "/w/far"
    assert inputs.paths("/w", "/w/r").model_path == "/abs/m"


def test_an_absolute_path_is_the_nodes_even_when_the_launcher_has_it(folder: Path) -> None:
    inputs = survey(recipe(data={"dir": str(folder / "data"), "datasets": ["d"]}), folder)
    assert "data" not in inputs.staged
    assert inputs.paths("/w", "/w/r").data_dir == str(folder / "data")


def test_local_uses_everything_where_it_lies(folder: Path) -> None:
    inputs = survey(recipe("local"), folder)
    paths = inputs.paths("/runs", "/runs/r")
    assert inputs.staged == {}
    assert (paths.data_dir, paths.model_path) == (str(folder / "data"), str(folder / "m"))


def test_dataset_info_names_the_file(folder: Path) -> None:
    (folder / "data" / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "sub/数据.jsonl"}}))
    (folder / "data" / "sub").mkdir()
    (folder / "data" / "sub" / "数据.jsonl").write_text(json.dumps(ROW) + "\n")
    assert list(survey(recipe(), folder).staged["data"].files) == ["dataset_info.json", "sub/数据.jsonl"]


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "must map dataset names"),
        ('{"d": {"file_name": "gone.json"}}', "no dataset d"),
        ('{"d": {"file_name": "../../etc/passwd"}}', "outside"),
        ('{"d": {"file_name": "/etc/passwd"}}', "outside"),
    ],
)
def test_a_broken_dataset_info_is_told(folder: Path, info: str, words: str) -> None:
    (folder / "data" / "dataset_info.json").write_text(info)
    with pytest.raises(UsageError, match=words):
        survey(recipe(), folder)


def test_a_dataset_of_the_hub_is_the_nodes_own_business(folder: Path) -> None:
    info = {"far": {"hf_hub_url": "a/b"}, "odd": {"ms_hub_url": "a/b"}, "d": {"hf_hub_url": "c/d"}}
    (folder / "data" / "dataset_info.json").write_text(json.dumps(info))
    far = survey(recipe(data={"datasets": ["far"]}), folder)
    assert (list(far.staged["data"].files), far.rows) == (["dataset_info.json"], None)
    with pytest.raises(UsageError, match="dataset odd: has no file_name"):
        survey(recipe(data={"datasets": ["odd"]}), folder)
    assert survey(recipe(), folder).rows == 1  # a local file goes before the hub


def test_turns_are_counted_where_each_becomes_a_sample(folder: Path) -> None:
    (folder / "data" / "d.json").write_text(json.dumps([{**ROW, "history": [["a", "b"]]}, ROW]))
    for loss_on, samples in (("split", 3), ("answers", 2)):
        inputs = survey(recipe(data={"datasets": ["d"], "loss_on": loss_on, "packing": "none"}), folder)
        assert (inputs.rows, inputs.samples) == (2, samples)


def test_rows_are_counted_up_to_max_samples(folder: Path) -> None:
    (folder / "data" / "a.json").write_text(json.dumps([ROW] * 3))
    (folder / "data" / "b.jsonl").write_text(f"{json.dumps(ROW)}\n\n{json.dumps(ROW)}\n")
    data: dict[str, Any] = {"dir": "data", "datasets": ["a", "b"]}
    assert survey(recipe(data=data), folder).rows == 5
    assert survey(recipe(data=data | {"max_samples": 2}), folder).rows == 4
    assert survey(recipe(data=data | {"dir": "far"}), folder).rows is None


@pytest.mark.parametrize(("text", "words"), [("[", "is no JSON"), ("{}", "must be a list of rows")])
def test_data_that_is_no_list_is_told_before_the_start(folder: Path, text: str, words: str) -> None:
    (folder / "data" / "d.json").write_text(text)
    with pytest.raises(UsageError, match=words):
        survey(recipe(), folder)


def test_broken_rows_are_told_before_the_start(folder: Path) -> None:
    (folder / "data" / "d.json").write_text(json.dumps([ROW, {"instruction": "Q"}]))
    with pytest.raises(UsageError) as caught:
        survey(recipe(), folder)
    assert caught.value.why == "d: 1 row with no output (2)"
    assert survey(recipe(data={"datasets": ["d"], "broken_rows": "skip"}), folder).rows == 1
    (folder / "data" / "d.json").write_text(json.dumps([{"instruction": "Q"}]))
    with pytest.raises(UsageError, match="no row to train on"):
        survey(recipe(data={"datasets": ["d"], "broken_rows": "skip"}), folder)


def test_weights_that_are_no_model_are_told_before_the_start(folder: Path) -> None:
    (folder / "m" / "config.json").unlink()
    with pytest.raises(UsageError, match="is no model folder"):
        survey(recipe("local"), folder)
    with pytest.raises(UsageError, match="is no model folder"):
        survey(recipe(model={"path": "m", "stage": True}), folder)
    assert survey(recipe(), folder).model_path == "m"  # on the nodes, where the engine looks


def test_a_missing_dataset_lists_those_that_are_there(folder: Path) -> None:
    with pytest.raises(UsageError, match="no dataset othr") as caught:
        survey(recipe(data={"dir": "data", "datasets": ["othr"]}), folder)
    assert caught.value.hint == "did you mean other?"
    with pytest.raises(UsageError) as caught:
        survey(recipe(data={"dir": "data", "datasets": ["zzz"]}), folder)
    assert caught.value.hint == "there are d, other"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        (recipe("local", model={"path": "none"}), "model.path"),
        (recipe("local", data={"dir": "none", "datasets": ["d"]}), "data.dir"),
        (recipe(model={"path": "none", "stage": True}), "model.path"),
        (recipe(report={"reference": "none.log"}), "report.reference"),
    ],
)
def test_what_must_be_here_and_is_not(folder: Path, given: Recipe, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        survey(given, folder)
    assert caught.value.where == where
    assert caught.value.hint.startswith(f"name another: --set {where}=F")
