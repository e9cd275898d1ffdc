"""`llmctl check` as it is typed: exit codes, what is printed, what machines read."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.question import KINDS, Question
from llmctl.cli.findings import show_facts, show_findings
from llmctl.recipe.hosts import Node
from llmctl.workflows.facts_file import save_facts
from tests.lab import Lab

RECIPE = """\
name: here
cluster: {device: cpu, devices_per_node: 1%s}
launch: {backend: local}
model: {init: {model_type: llama}, template: default@0.9.5}
data: {dir: data, datasets: [rows]}
"""


@pytest.fixture
def recipe(tmp_path: Path):
    """Write a recipe for this machine alone; gives its path."""

    def write(more: str = "") -> Path:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data/dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}')
        (tmp_path / "data/rows.json").write_text('[{"instruction": "Say yes.", "input": "", "output": "Yes."}]')
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE % more)
        return path

    return write


@pytest.mark.engine
def test_this_machine_alone(run_llmctl, recipe) -> None:
    done = run_llmctl("check", recipe(), "--json", code=0)
    told = json.loads(done.stdout)
    assert (told["schema"], told["nodes"], told["blocked"]) == (1, ["localhost"], False)
    names = {fact["name"] for fact in told["facts"]}
    assert {"os.arch", "python.version", "package.torch", "host.shm", "disk.workdir"} <= names
    assert "network.connect" not in names
    assert "\x1b" not in done.stdout


def test_a_pin_that_does_not_hold_blocks_with_3(run_llmctl, recipe) -> None:
    done = run_llmctl("check", recipe(", expect: {python: 2.7.18}"), code=3)
    first = done.stdout.splitlines()[0]
    assert first.startswith("error")
    assert "python.version.differs" in first
    assert "localhost, expected is 2.7.18" in first
    assert "next:" in done.stdout


def test_a_failing_activation_blocks_with_3(run_llmctl, recipe) -> None:
    done = run_llmctl("check", recipe(", activate: ['echo gone >&2; false']"), code=3)
    assert "activation.wrong" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--via", "rsh", "node1"], "--via rsh"),
        (["--device", "tpu9", "node1"], "no device tpu9"),
        (["node1", "node1"], "stands twice"),
        (["'; echo foo"], "is no node"),
        (["no/such/recipe.yaml"], "recipe.yaml"),
        (["node1", "--baseline", "/no/such/file"], "no saved facts"),
        ([], "Missing argument"),
        (["--no-such"], "next: llmctl check --help"),
        (["node1", "--set", "a.b=1"], "--set changes a key of a recipe"),
        (["node1", "--save", "no/such/folder/f.json"], "there is no folder no/such/folder"),
    ],
)
def test_mistakes_in_what_was_typed(run_llmctl, tmp_path: Path, words: list[str], told: str) -> None:
    done = run_llmctl("check", *words, cwd=tmp_path, env={"LLMCTL_HOME": str(tmp_path), "PATH": "/usr/bin"}, code=2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_resolves_nowhere_is_5(run_llmctl, tmp_path: Path) -> None:
    done = run_llmctl("check", "no-such-node.invalid", env={"LLMCTL_HOME": str(tmp_path), "PATH": "/usr/bin"}, code=5)
    assert "no-such-node.invalid=10.0.0.1" in done.stderr


def test_a_key_can_be_changed_as_for_run(run_llmctl, recipe) -> None:
    done = run_llmctl("check", recipe(), "--set", "cluster.expect.python=2.7.18", "--only", "python.version", code=3)
    assert "expected is 2.7.18" in done.stdout


def test_a_fact_of_other_devices_is_told_as_that(run_llmctl, recipe) -> None:
    done = run_llmctl("check", recipe(), "--only", "toolkit", code=2)
    assert "no fact that is read with device cpu is named toolkit" in done.stderr
    assert "there is one with npu" in done.stderr


def test_a_name_that_no_node_was_asked_for_is_told_with_the_reason(run_llmctl, tmp_path: Path) -> None:
    nodes = [Node(name="a"), Node(name="b")]
    bare = [Fact(name=KINDS.name, node=node.name, value=[]) for node in nodes]
    save_facts(tmp_path / "facts.json", Question(count=2), nodes, bare)
    done = run_llmctl("check", tmp_path / "facts.json", "--only", "driver", code=0)
    assert "driver was not asked: it is read with npu, " in done.stdout
    assert "no node shows such a device; --device npu asks all the same" in done.stdout
    told = json.loads(run_llmctl("check", tmp_path / "facts.json", "--only", "driver", "--json", code=0).stdout)
    assert "cuda" in told["not_asked"]["driver"]


def test_values_are_shown_whole_and_equal_only_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    values = [{f"package{n}": last for n in range(30)} for last in ("1.0", "1.0", "2.0")]
    show_facts([Fact(name="p", node=f"node{n}", value=value) for n, value in enumerate(values, 1)])
    shown = capsys.readouterr().out
    assert "node[1-2]" in shown
    assert "node3" in shown
    assert "package29 2.0" in shown


def test_a_fact_that_differs_everywhere_does_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    facts = [Fact(name=name, node=f"node{n}", value=f"{name}-{n}") for n in range(1, 17) for name in ("few", "many")]
    show_facts([*facts, Fact(name="many", node="node17", value="many-17")])
    shown = capsys.readouterr().out
    assert [value for n in range(1, 17) if (value := f"few-{n}") not in shown] == []
    assert [n for n in range(1, 18) if f"many-{n} " in shown] == list(range(1, 16))
    assert re.search(r"many +node\[16-17\] +\.\.\. 2 more values with --json", shown)


def test_remarks_are_counted_only_where_they_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    remark = Finding(code="os.kernel.differs", severity=Severity.INFO, title="differs")
    show_findings([remark], more="")
    assert capsys.readouterr().out == ""
    show_findings([remark])
    assert capsys.readouterr().out == "1 remark (shown by llmctl check RECIPE --verbose)\n"


@pytest.mark.lab
def test_two_nodes_agree_within_seconds(run_llmctl, lab: Lab) -> None:
    started = time.monotonic()
    done = run_llmctl("check", "node[1-2]", env=lab.env, code=0)
    assert time.monotonic() - started < 30
    assert "2 of 2 nodes read" in done.stdout
    assert "error" not in done.stdout


@pytest.mark.lab
def test_facts_are_shown_saved_and_held_against(run_llmctl, lab: Lab, tmp_path: Path) -> None:
    saved = tmp_path / "节点 'a'.json"
    done = run_llmctl("check", "node[1-2]", "--facts", "--save", saved, env=lab.env, code=0)
    assert "os.arch" in done.stdout
    content = json.loads(saved.read_text(encoding="utf-8"))
    facts = [Fact(**fact) for fact in content["facts"]]
    assert {fact.node for fact in facts} == {"node1", "node2"}
    run_llmctl("check", "node[1-2]", "--baseline", saved, env=lab.env, code=0)
    for fact in content["facts"]:
        if fact["name"] == "os.arch":
            fact["value"] = "riscv'64"
    saved.write_text(json.dumps(content), encoding="utf-8")
    done = run_llmctl("check", "node[1-2]", "--baseline", saved, env=lab.env, code=3)
    assert "expected is riscv'64" in done.stdout


@pytest.mark.lab
def test_the_good_half_is_told_when_a_node_is_away(run_llmctl, lab: Lab) -> None:
    gone = f"gone={lab.nodes[0].address}:9"
    done = run_llmctl("check", "node1", gone, "--json", env=lab.env, code=5)
    told = json.loads(done.stdout)
    assert set(told["errors"]) == {"gone"}
    assert {fact["node"] for fact in told["facts"]} == {"node1"}
    assert "gone" in done.stderr


@pytest.mark.lab
def test_a_node_that_is_away_outranks_what_blocks(run_llmctl, lab: Lab, tmp_path: Path) -> None:
    wrong = tmp_path / "b.json"
    fact = {"name": "os.arch", "node": "n", "value": "none", "source": "", "scope": "host", "error": None}
    wrong.write_text(json.dumps({"schema": 1, "facts": [fact]}))
    gone = f"gone={lab.nodes[0].address}:9"
    done = run_llmctl("check", "node1", gone, "--baseline", wrong, env=lab.env, code=5)
    assert "os.arch.differs" in done.stdout


@pytest.mark.lab
def test_pdsh_carries_it(run_llmctl, lab: Lab) -> None:
    done = run_llmctl("check", "node[1-2]", "--via", "pdsh", env=lab.env, code=0)
    assert "2 of 2 nodes read" in done.stdout
