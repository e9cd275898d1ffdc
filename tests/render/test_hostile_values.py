"""Any value of a recipe comes out of its file, and of the rendered shell text, as it went in."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmctl.errors import UsageError
from llmctl.recipe.hosts import parse_nodes
from llmctl.recipe.load import dump_recipe, load_recipe
from llmctl.recipe.schema import Recipe
from llmctl.render.files import render
from llmctl.run.plan import NodePaths, make_plan
from tests.hostile import batches, names, values


def recipe_with(**cluster: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "r",
            "cluster": {"device": "cpu", "nodes": ["n1"], "workdir": "/w", **cluster},
            "model": {"path": "m"},
            "data": {"datasets": ["d"]},
        }
    )


def rendered(recipe: Recipe, run_dir: str) -> dict[str, str]:
    paths = NodePaths(run_dir=run_dir, engine_dir="/e", data_dir="/d", model_path="/m", adapter_path=None)
    return render(make_plan(recipe, parse_nodes(["n1"]), run_id="r-20260101-000000-abcd", paths=paths))


@settings(max_examples=15, deadline=None)
@given(env=batches(20))
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_variables_come_out_of_the_environment_file(shell: str, env: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "env.sh").write_text(rendered(recipe_with(env=env), folder)["env.sh"], encoding="utf-8")
        done = subprocess.run(
            [shell, "-c", ". ./env.sh && exec env -0"],
            cwd=folder,
            capture_output=True,
            check=True,
            env={"PATH": "/bin"},
        )
    told = dict(line.partition(b"=")[::2] for line in done.stdout.split(b"\0"))
    assert {name: told[name.encode()].decode() for name in env} == env


@settings(max_examples=30, deadline=None)
@given(env=batches(5), args=st.lists(values, max_size=5), folder=names)
def test_a_recipe_is_the_same_after_it_was_written_and_read(env: dict[str, str], args: list[str], folder: str) -> None:
    words = [word for arg in args for word in ("--label", f"x={arg}")]
    container = {"runtime": "docker", "image": "i", "args": words}
    recipe = recipe_with(env=env, workdir=f"/w/{folder}", container=container)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "recipe.yaml"
        path.write_text(dump_recipe(recipe), encoding="utf-8")
        assert load_recipe(path).recipe == recipe


def test_a_long_value_keeps_its_spaces(tmp_path: Path) -> None:
    text = "two  spaces " * 1000
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe_with(env={"A": text})), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.yaml").recipe.cluster.env["A"] == text


@settings(max_examples=25, deadline=None)
@given(args=st.lists(values, max_size=8), folder=names)
def test_arguments_of_a_container_come_out_of_its_script(args: list[str], folder: str) -> None:
    if shutil.which("sh") is None:
        pytest.skip("no sh")
    with tempfile.TemporaryDirectory() as place:
        run_dir, binaries = Path(place) / folder, Path(place) / "bin"
        run_dir.mkdir()
        binaries.mkdir()
        words = [word for arg in args for word in ("--label", f"x={arg}")]
        recipe = recipe_with(workdir=str(run_dir), container={"runtime": "docker", "image": "i:1", "args": words})
        for name, text in rendered(recipe, str(run_dir)).items():
            (run_dir / name).write_text(text, encoding="utf-8")
        (binaries / "docker").write_text("#!/bin/sh\nfor w; do printf '%s\\0' \"$w\"; done\n")
        (binaries / "docker").chmod(0o755)
        env = {"PATH": f"{binaries}:/usr/bin:/bin"}
        done = subprocess.run(["sh", run_dir / "launch.sh", "0"], env=env, cwd="/", capture_output=True, check=True)
        told = [word.decode() for word in done.stdout.split(b"\0")[:-1]]
        at = told.index("--ipc=host")
        assert told[at + 1 :] == [*words, "i:1", "./inside.sh", "0"]
        assert f"--workdir={run_dir}" in told


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("env", {"A": "a\0b"}, "NUL"),
        ("workdir", "/w/a\0b", "NUL"),
        ("container", {"runtime": "docker", "image": "i", "args": ["--label=a\0b"]}, "NUL"),
    ],
)
def test_what_no_process_can_hold_is_refused(key: str, value: Any, told: str) -> None:
    with pytest.raises((UsageError, ValueError), match=told):
        rendered(recipe_with(**{key: value}), "/w/runs/r" if key != "workdir" else value)


@pytest.mark.parametrize("image", ["", "-i", "a b", "a\nb", "$(id)", "'; echo foo"])
def test_what_is_no_image_is_refused(image: str) -> None:
    with pytest.raises(ValueError, match="image"):
        recipe_with(container={"runtime": "docker", "image": image})


@pytest.mark.parametrize(
    "word", ["--name=x", "--rm", "-d", "--detach", "--gpus all", "-e A=b c", "--env=LLMCTL_RUN_ID=x"]
)
def test_what_a_run_cannot_live_with_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="container"):
        recipe_with(container={"runtime": "docker", "image": "i", "args": [word]})


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "'; echo foo", "a\n", "实验", "%h", "a" * 65, "a/b"])
def test_a_name_that_cannot_begin_a_run_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Recipe.model_validate(recipe_with().model_dump() | {"name": name})


@settings(max_examples=30, deadline=None)
@given(folder=names)
def test_a_folder_that_pdsh_cannot_work_in_is_refused(folder: str) -> None:
    recipe = recipe_with()
    launch = recipe.launch.model_copy(update={"backend": "pdsh", "launcher": "deepspeed"})
    recipe = recipe.model_copy(update={"launch": launch})
    assume(not re.fullmatch(r"[A-Za-z0-9_@+=:,./-]+", folder))
    with pytest.raises(UsageError, match="pdsh cannot work in"):
        rendered(recipe, f"/w/{folder}")
