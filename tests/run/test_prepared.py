"""Prepared folders on the launcher, and what becomes of a run's inputs where one fits."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from llmctl.recipe.schema import Recipe
from llmctl.run import prepared
from llmctl.run.inputs import survey
from llmctl.run.trees import files_below, make_tree

KEY = "4f0c6e1a9b2d7788" * 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared folder of two packs in three examples of four rows."""
    monkeypatch.setenv("LLMCTL_CACHE", str(tmp_path / "cache"))
    made = prepared.place_of(KEY)
    (made / "tokenizer").mkdir(parents=True)
    contents = {"ids.npy": b"ids", "labels.npy": b"labels", "tokenizer/tokenizer.json": b"{}"}
    for name, content in contents.items():
        (made / name).write_bytes(content)
    told = {
        "schema": 2,
        "key": KEY,
        "examples": 3,
        "tokens": 30,
        "label_tokens": 10,
        "packing": "exact",
        "packs": 2,
        "summary": {"rows": 4, "broken_rows": [{}]},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    (made / "prepared.json").write_text(json.dumps(told))
    return made


def read(folder: Path) -> prepared.Prepared:
    found = prepared.read_prepared(folder)
    assert found is not None
    return found


def test_a_tree_of_known_digests_is_that_of_the_files(folder: Path) -> None:
    prepared.note_recipe(folder, Path("/r.yaml"))
    tree = read(folder).tree()
    assert tree == make_tree({name: path for name, path in files_below(folder).items() if name != "made.json"})


def test_only_a_whole_folder_is_taken(folder: Path) -> None:
    found = read(folder)
    assert (found.rows, found.samples) == (3, 2)
    assert prepared.read_prepared(folder.parent / "gone") is None
    (folder / "ids.npy").unlink()
    assert prepared.read_prepared(folder) is None
    (folder / "prepared.json").write_text('{"schema": 1, "files": {}}')
    assert prepared.read_prepared(folder) is None
    (folder / "prepared.json").write_text("{")
    assert prepared.read_prepared(folder) is None


def test_what_was_made_from_a_recipe_is_found_by_it(folder: Path) -> None:
    recipe = Path("/somewhere/r.yaml")
    assert prepared.made_from(recipe) == []
    prepared.note_recipe(folder, recipe)
    assert [each.key for each in prepared.made_from(recipe)] == [KEY]
    assert prepared.made_from(Path("/other.yaml")) == []


def test_one_makes_a_folder_and_another_waits(folder: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with prepared.alone(folder, waiting.set) as aside:
            order.append(f"second finds {sorted(path.name for path in aside.iterdir())}")

    other = threading.Thread(target=second)
    with prepared.alone(folder, lambda: order.append("first waits")) as aside:
        (aside / "half").mkdir()
        other.start()
        assert waiting.wait(60)
        order.append("first ends")
    other.join(60)
    assert order == ["first ends", "second finds ['lock']"]
    assert list(folder.parent.iterdir()) == [folder]


def test_nobody_else_reads_what_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_CACHE", str(tmp_path / "cache"))
    with prepared.alone(prepared.place_of(KEY), pytest.fail):
        assert prepared.prepared_dir().stat().st_mode & 0o777 == 0o700


def test_what_a_killed_one_left_is_cleared(folder: Path) -> None:
    left = folder.parent / f".{folder.name}.making"
    (left / "half").mkdir(parents=True)
    (left / "enter.sh").touch()
    with prepared.alone(folder, pytest.fail) as aside:
        assert (aside, [path.name for path in aside.iterdir()]) == (left, ["lock"])


@pytest.mark.parametrize("backend", ["ssh", "local"])
def test_prepared_tokens_take_the_place_of_the_data(folder: Path, tmp_path: Path, backend: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.json").write_text('[{"instruction": "Q", "output": "A"}]')
    cluster: dict[str, Any] = {"device": "cpu"} | ({"nodes": ["n"], "workdir": "/w"} if backend == "ssh" else {})
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "cluster": cluster,
            "launch": {"backend": backend},
            "model": {"init": {"model_type": "llama"}},
            "data": {"datasets": ["d"], "packing": "exact"},
        }
    )
    without = survey(recipe, tmp_path)
    assert (without.samples, without.rows) == (None, 1)
    inputs = survey(recipe, tmp_path, read(folder))
    assert (inputs.samples, inputs.rows) == (2, 3)
    assert inputs.data == without.data
    paths = inputs.paths("/w", "/w/runs/r")
    if backend == "local":
        assert (inputs.staged, paths.prepared_dir) == ({}, str(folder))
    else:
        assert sorted(inputs.staged) == ["engine", "prepared"]
        assert paths.prepared_dir == f"/w/prepared/{read(folder).tree().digest[:16]}"
    assert without.paths("/w", "/w/runs/r").prepared_dir is None


def test_rows_are_samples_only_where_nothing_joins_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "d.json").write_text('[{"instruction": "Q", "output": "A", "text": "T"}]')
    whole: dict[str, Any] = {"name": "r", "cluster": {"device": "cpu"}, "launch": {"backend": "local"}}
    whole["model"] = {"init": {}}
    for stage, packing, samples in (("sft", "none", 1), ("sft", "naive", None), ("pt", "none", None)):
        data = {"datasets": ["d"], "packing": packing}
        given = Recipe.model_validate({**whole, "data": data, "train": {"stage": stage}})
        assert survey(given, tmp_path).samples == samples


def test_the_engine_tells_a_run_what_it_trained_on(folder: Path, tmp_path: Path) -> None:
    assert prepared.trained_on(tmp_path) is None
    record = read(folder).record()
    (tmp_path / "data_summary.json").write_text(json.dumps({"rows": 4, "prepared": {**record, "more": 1}}))
    assert prepared.trained_on(tmp_path) == record
    digests = prepared.digests_of_tokens(record)
    assert digests["prepared"] == KEY
    record["files"]["ids.npy"] = "other"
    assert prepared.digests_of_tokens(record)["tokens"] != digests["tokens"]
