"""Pins that pin nothing, told by what is wrong with each; and what is to be done about a pin that does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.checks.facts import Fact, Finding
from llmctl.checks.pins import wrong_pins
from llmctl.checks.question import Question, findings
from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node
from llmctl.workflows.check import check_words
from llmctl.workflows.question import question_of
from llmctl.workflows.render import draft

RECIPE = """\
name: here
cluster: {device: cpu, devices_per_node: 1%s}
launch: {backend: local}
model: {init: {model_type: llama}, template: default@0.9.5}
data: {dir: data, datasets: [rows]}
"""
NODES = [Node(name="node1"), Node(name="node2")]
KINDS = [Fact(name="accelerator.kinds", node=node.name, value=[]) for node in NODES]


@pytest.mark.parametrize(
    ("pin", "device", "what", "hint"),
    [
        ("toorch", "cpu", "no fact has this name", "did you mean torch?"),
        ("xyzzy", "cpu", "no fact has this name", "here can be pinned: python"),
        ("cann", "cpu", "toolkit.version is read on npu", "here can be pinned: python"),
        ("os.boot", "cpu", "os.boot is not compared between nodes", "here can be pinned"),
        ("host.shm", "npu", "host.shm is not compared between nodes", "here can be pinned: cann"),
    ],
)
def test_why_a_pin_pins_nothing(pin: str, device: str, what: str, hint: str) -> None:
    told = wrong_pins(Question(device=device, expect={pin: "1", "python": "3.11.2"}))
    assert list(told) == [pin]
    assert what in told[pin][0]
    assert hint in told[pin][1]


def test_what_can_be_pinned_is_fine() -> None:
    pins = {"cann": "8.2.RC1", "torch_npu": "2.6.0", "driver": "25.0", "python.version": "3.11.2", "os.glibc": "2.36"}
    assert wrong_pins(Question(device="npu", expect=pins)) == {}


def test_the_line_of_the_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}')
    (tmp_path / "data/rows.json").write_text('[{"instruction": "Say yes.", "input": "", "output": "Yes."}]')
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE % ",\n  expect: {python: 3.11.2,\n    toorch: 2.6.0}")
    with pytest.raises(UsageError, match="no fact has this name") as told:
        check_words([str(path)])
    assert told.value.where == f"{path}:4"
    path.write_text(RECIPE % "")
    with pytest.raises(UsageError) as told:
        question_of(draft(str(path), sets=["cluster.expect.toorch=2.6.0"]))
    assert told.value.where == "--set cluster.expect.toorch"


def judged(question: Question, *facts: Fact, baseline: tuple[Fact, ...] = ()) -> Finding:
    found = [
        f for f in findings(question, NODES, [*KINDS, *facts], baseline) if f.code.endswith(("differs", "missing"))
    ]
    assert len(found) == 1, found
    return found[0]


def both(name: str, first: object, second: object) -> list[Fact]:
    return [Fact(name=name, node="node1", value=first), Fact(name=name, node="node2", value=second)]


def test_a_pin_that_is_too_short_says_what_to_write() -> None:
    found = judged(Question(expect={"python": "3.11"}, count=2), *both("python.version", "3.11.7", "3.11.7"))
    assert found.remedy == "a pin is the whole value: if 3.11.7 is right, write that into cluster.expect"


def test_nodes_are_brought_to_the_pin_and_not_to_each_other() -> None:
    found = judged(Question(expect={"python": "3.10.1"}, count=2), *both("python.version", "3.11.7", "3.11.7"))
    assert found.remedy == "bring node[1-2] to 3.10.1, or, if that is wrong, correct cluster.expect"


def test_nodes_are_brought_to_the_baseline() -> None:
    good = (Fact(name="package.torch", node="good", value="2.6.0"),)
    found = judged(Question(count=2), *both("package.torch", "2.6.0", "9.9"), baseline=good)
    assert found.remedy.startswith("bring node2 to 2.6.0, or")
    assert "llmctl check GOODNODE --save FILE" in found.remedy


def test_missing_data_is_pushed_to_the_place_where_it_must_lie() -> None:
    facts = [Fact(name="data.files", node=node.name, error="no such folder") for node in NODES]
    found = judged(Question(places={"data": ["/data/my sets"]}, backend="ssh", count=2), *facts)
    assert "llmctl push 'my sets' node[1-2] --to '/data/my sets'" in found.remedy
    here = judged(Question(places={"data": ["/data/my sets"]}, backend="local", count=2), *facts)
    assert "push" not in here.remedy


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("127.0.1.1", "take node1 out of the line of 127.0.1.1 in /etc/hosts on node1"),
        (None, "llmctl setup-nodes node[1-2] writes the names into /etc/hosts"),
        ("10.9.9.9", "correct what names node1 there: getent -s files hosts node1 tells whether it is /etc/hosts"),
    ],
)
def test_a_wrong_name_is_mended_where_it_is_wrong(address: str | None, remedy: str) -> None:
    own = [{"address": "10.0.0.1", "interface": "eth0", "prefix": 24, "up": True}]
    other = [{"address": "10.0.0.2", "interface": "eth0", "prefix": 24, "up": True}]
    resolves = {"node1": [address] if address else [], "node2": ["10.0.0.2"]}
    facts = [*both("network.addresses", own, other), Fact(name="network.resolves", node="node1", value=resolves)]
    (found,) = [f for f in findings(Question(count=2), NODES, [*KINDS, *facts]) if f.code == "network.names.wrong"]
    assert found.remedy == remedy
