"""Random values of a recipe through the real paths to the nodes, many in one run: the ranks get them as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import PYTHON, Drill
from tests.hostile import SNIPPETS, batches, names, values
from tests.lab import Lab
from tests.lab.containers import IMAGE, calls, with_runtime

pytestmark = pytest.mark.lab
WORST = "a 'b' \"c\" $(id) `id`; echo foo %h \\ 中文 数据"
bounded = settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@dataclass
class Place:
    """Two nodes, and a new folder for every run."""

    lab: Lab
    folder: Path
    runs: list[Drill] = field(default_factory=list)

    def run(self, **sections: Any) -> Drill:
        """A run of three steps with these blocks in its recipe, to its end."""
        drill = Drill(self.lab, self.folder / str(len(self.runs)), steps=3, sections=sections)
        self.runs.append(drill)
        llmctl("run", drill.recipe(), "--runs", drill.runs, env=self.lab.env, code=0, timeout=120)
        return drill

    def told(self, drill: Drill) -> list[dict[str, Any]]:
        """What each rank found: `argv`, `cwd`, `environ`."""
        pieces = []
        for number, node in enumerate(self.lab.nodes):
            # By a link: the lab's own reading quotes no names.
            self.lab.exec(node, 'ln -sfn "$(cat)" /tmp/looked', stdin=f"{drill.run_dir}/told{number}")
            pieces.append(json.loads(self.lab.read(node, "/tmp/looked") or "null"))
        return pieces


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(make_lab(stack, count=2), tmp_path_factory.mktemp("hostile"))


def in_quotes(env: dict[str, str]) -> dict[str, str]:
    """For the recipe's file: without quotes YAML itself reads Unicode's line ends as something else."""
    return {name: DoubleQuotedScalarString(value) for name, value in env.items()} | {"SMALLRANK_TELL": "told"}


def altered(env: dict[str, str], found: dict[str, str]) -> dict[str, Any]:
    """The variables that did not arrive as they were, both ways."""
    return {name: (value, found.get(name)) for name, value in env.items() if found.get(name) != value}


@pytest.mark.parametrize("backend", ["ssh", "pdsh"])
@bounded
@given(env=batches(120))
def test_variables_arrive_unchanged(place: Place, backend: str, env: dict[str, str]) -> None:
    launch = {"backend": backend, "launcher": "deepspeed" if backend == "pdsh" else "torchrun"}
    more = {"deepspeed": {"stage": 2}} if backend == "pdsh" else {}
    drill = place.run(cluster={"env": in_quotes(env)}, launch=launch, **more)
    for told in place.told(drill):
        assert altered(env, told["environ"]) == {}
    assert len(env) > len(SNIPPETS) + 100


@bounded
@given(folder=names, data=names, python=names, dataset=names)
def test_names_of_folders_programs_and_data_arrive_unchanged(
    place: Place, folder: str, data: str, python: str, dataset: str
) -> None:
    assert_names_arrive(place, folder, data, python, dataset)


def test_the_worst_names_arrive_unchanged(place: Place) -> None:
    assert_names_arrive(place, WORST, WORST, WORST, WORST)


def assert_names_arrive(place: Place, folder: str, data: str, python: str, dataset: str) -> None:
    """Run in a folder of that name, with data and an interpreter of those names."""
    lab, number = place.lab, len(place.runs)
    program = f"/opt/{python}/python"
    for node in lab.nodes:
        made = lab.exec(node, f'p=$(cat); mkdir -p "${{p%/*}}" && ln -sf {PYTHON} "$p"', stdin=program)
        assert made.ok, made.stderr
    beside = place.folder / str(number) / data
    beside.mkdir(parents=True)
    (beside / f"{dataset}.json").write_text('[{"instruction": "count", "input": "", "output": "on"}]')
    workdir = f"/tmp/{folder}"
    drill = place.run(
        cluster={"workdir": workdir, "python": program, "env": {"SMALLRANK_TELL": "told"}},
        data={"dir": data, "datasets": [dataset]},
    )
    assert drill.run_dir == f"{workdir}/runs/{drill.run.name}"
    config = json.loads((drill.run / "engine.json").read_text(encoding="utf-8"))
    for node, told in zip(lab.nodes, place.told(drill), strict=True):
        assert told["cwd"] == drill.run_dir
        assert told["argv"] == [program, "-u", "-m", "llmctl_engine", "engine.json"]
        assert config["data"]["datasets"] == [dataset]
        seen = lab.exec(node, 'd=$(cat); cat "$d"', stdin=f"{config['data']['dir']}/{dataset}.json")
        assert '"count"' in seen.stdout
    assert list((drill.run / "logs" / "node2").glob("rank1.log")), "collected"


@settings(bounded, max_examples=1)
@given(args=st.lists(values, min_size=30, max_size=30), env=batches(40))
def test_a_container_gets_its_words_and_variables_unchanged(place: Place, args: list[str], env: dict[str, str]) -> None:
    words = [word for arg in [*SNIPPETS, *args] for word in ("--label", f"x={arg}")]
    with with_runtime(place.lab, "docker"):
        drill = place.run(
            cluster={
                "container": {"runtime": "docker", "image": IMAGE, "args": list(map(DoubleQuotedScalarString, words))},
                "env": in_quotes(env),
                "workdir": f"/tmp/{WORST}",
            }
        )
        for node, told in zip(place.lab.nodes, place.told(drill), strict=True):
            (argv,) = (call["argv"] for call in calls(place.lab, node) if call["argv"][0] == "run")
            at = argv.index("--ipc=host")
            assert argv[at + 1 : -3] == words
            assert altered(env, told["environ"]) == {}
            assert told["cwd"] == drill.run_dir
