"""Recipe files: what is read, and how every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.errors import ExitCode, ManyErrors, UsageError
from llmctl.recipe.load import dump_recipe, find_recipe, load_recipe
from llmctl.resources import data_dir

GOOD = """\
name: r
cluster:
  device: cuda
  nodes: [node1]
  workdir: /data
model: {path: m}
data:
  datasets: [d]
train:
  learning_rate: 5e-5
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def told(path: Path, *sets: str) -> list[str]:
    with pytest.raises(ManyErrors) as caught:
        load_recipe(path, sets)
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(path) in str(caught.value)
    return [str(error) for error in caught.value.errors]


@pytest.mark.parametrize("path", sorted(data_dir("recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_survive_being_resolved(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path).recipe
    assert recipe.name == path.stem
    assert load_recipe(write(tmp_path, dump_recipe(recipe))).recipe == recipe


@pytest.mark.parametrize("path", sorted(data_dir("recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_write_out_what_differs_between_llama_factory_versions(path: Path) -> None:
    given = load_recipe(path).recipe
    assert {"template", "trust_remote_code"} <= given.model.model_fields_set
    assert {"cutoff_len"} <= given.data.model_fields_set
    assert {
        "learning_rate", "scheduler", "precision", "seed", "max_grad_norm", "gradient_checkpointing", "logging_steps",
        "save_steps", "warmup_steps", "weight_decay",
    } <= given.train.model_fields_set  # fmt: skip
    if given.train.method == "lora":
        assert {"r", "alpha", "dropout", "targets"} <= given.train.lora.model_fields_set


def test_a_shipped_recipe_is_found_by_name_and_a_file_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("quickstart").parent == data_dir("recipes").resolve()
    (tmp_path / "quickstart").write_text(GOOD)
    assert find_recipe("quickstart") == tmp_path / "quickstart"


@pytest.mark.parametrize(
    ("number", "value"), [("5e-5", 5e-5), ("5.0e-5", 5e-5), ("1", 1.0), (".5", 0.5), ("1E-3", 1e-3)]
)
def test_numbers_as_people_write_them(tmp_path: Path, number: str, value: float) -> None:
    assert load_recipe(write(tmp_path, GOOD.replace("5e-5", number))).recipe.train.learning_rate == value


def test_all_mistakes_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
nmae: r
cluster:
  device: cuda
  nodess: [node1]
  devices_per_node: "8"
  env: {"A B": 1}
launch: {backend: pdsh}
model: {path: m, init: {model_type: llama}, template: alpac, family: bert}
data: {datasets: [], cutoff_len: 1.5}
train:
  epoch: 3
  lora:
    rr: 8
    dropout: 1
  precision: fp8
deepspeed: {stage: 4}
""",
    )
    errors = told(path)
    for line, words in [
        (1, "name: is missing"),
        (1, "nmae: unknown key\n  next: did you mean name?"),
        (2, "cluster: give exactly one of `nodes` and `hostfile`"),
        (2, "cluster.workdir: is needed by the pdsh backend"),
        (4, "cluster.nodess: unknown key\n  next: did you mean nodes?"),
        (5, "cluster.devices_per_node: must be a whole number, not '8'"),
        (6, "cluster.env: 'A B' is no name of an environment variable"),
        (7, "launch.launcher: pdsh is DeepSpeed's own multi-node path"),
        (8, "model: give exactly one of `path` and `init`"),
        (8, "model.family: no family 'bert'; there are baichuan, "),
        (8, "model.template: no template 'alpac'; did you mean alpaca@0.9.5"),
        (9, "data.datasets: must not be empty"),
        (9, "data.cutoff_len: must be a whole number, not 1.5"),
        (11, "train.epoch: unknown key\n  next: did you mean epochs?"),
        (13, "train.lora.rr: unknown key\n  next: did you mean r?"),
        (14, "train.lora.dropout: must be less than 1"),
        (15, "train.precision: must be fp32, bf16 or fp16, not 'fp8'"),
        (16, "deepspeed.stage: must be 0, 1, 2 or 3, not 4"),
    ]:
        assert any(each.startswith(f"line {line}: {words}") for each in errors), (line, words, errors)
    assert len(errors) == 18


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("device: cuda", "device: [cpu", "is no YAML"),
        ("name: r", "name: r\nname: s", "a key stands twice"),
        ("name: r", "name:\tr: s", "is no YAML"),
    ],
)
def test_what_is_no_yaml_is_told_with_line_and_column(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UsageError, match=words) as caught:
        load_recipe(path)
    file, line, column = caught.value.where.rsplit(":", 2)
    assert file == str(path)
    assert int(line) >= 1
    assert int(column) >= 1


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="a recipe is a mapping"):
        load_recipe(write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_recipe(path)


def test_a_missing_file_names_the_nearest_shipped_recipe() -> None:
    with pytest.raises(UsageError, match="no such recipe") as caught:
        load_recipe("quikstart.yaml")
    assert "quickstart" in caught.value.hint


def test_set_changes_and_adds_keys_in_order(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, GOOD),
        [
            "train.epochs=1",
            "train.epochs=2.5",
            "data.datasets=[a, b]",
            "train.lora.targets=[q_proj]",
            "cluster.env.A=x y",
        ],
    ).recipe
    assert recipe.train.epochs == 2.5
    assert recipe.data.datasets == ("a", "b")
    assert recipe.train.lora.targets == ("q_proj",)
    assert recipe.cluster.env == {"A": "x y"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("train.epoch=1", "--set train.epoch: train.epoch: unknown key\n  next: did you mean epochs?"),
        ("train.epochs=many", "--set train.epochs: train.epochs: must be a number, not 'many'"),
        ("trian.epochs=1", "--set trian.epochs: trian: unknown key\n  next: did you mean train?"),
        ("name.first=x", "--set name.first=x: name is a value, not a block"),
        ("train.epochs", "--set train.epochs: needs the form key.path=value"),
        ("=1", "--set =1: needs the form key.path=value"),
        ("data.datasets=[a", "--set data.datasets=[a: the value is no YAML"),
        ("train.learning_rate=", "--set train.learning_rate: train.learning_rate: must be a number"),
    ],
)
def test_mistakes_in_set_are_told_as_they_were_typed(tmp_path: Path, given: str, words: str) -> None:
    (error,) = told(write(tmp_path, GOOD), given)
    assert error.startswith(words)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (
            ["cluster.device=cpu", "train.precision=fp16"],
            "train.precision: fp16 does not train on cpu; use fp32 or bf16",
        ),
        (["launch.backend=local"], "cluster.nodes: the local backend runs on this machine alone"),
        (["train.lora.adapter=a"], "train.lora.adapter: an adapter is for `method: lora`"),
        (["train.max_steps=0"], "train.max_steps: must be at least 1, or -1"),
        (["cluster.workdir=data"], "cluster.workdir: must be an absolute path"),
        (["cluster.hostfile=h"], "cluster: give exactly one of `nodes` and `hostfile`"),
        (["cluster.expect.cann=8.2"], 'cluster.expect.cann: must be text, not 8.2\n  next: quote it: "8.2"'),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, sets: list[str], words: str) -> None:
    (error,) = told(write(tmp_path, GOOD), *sets)
    assert words in error
