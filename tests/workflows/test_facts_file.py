"""Saved facts: judged again they tell what they told, also of nodes that were not read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.checks.facts import Fact
from llmctl.checks.question import Question
from llmctl.cli.check import conclusion
from llmctl.errors import NodeError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.workflows.check import check_words
from llmctl.workflows.facts_file import load_saved, save_facts

NODES = (Node(name="node1"), Node(name="node2"))
ARCH = Fact(name="os.arch", node="node1", value="x86_64")
KINDS = Fact(name="accelerator.kinds", node="node1", value=[])
AWAY = {"node2": NodeError("it cannot be reached", where="node2", why="no answer", hint="is it on?")}


def test_nodes_that_were_not_read_are_told_again(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    save_facts(path, Question(count=2), NODES, [KINDS, ARCH], AWAY)
    again = check_words([str(path)])
    assert str(again.errors["node2"]) == str(AWAY["node2"])
    assert conclusion(again).startswith("1 of 2 nodes read")


def test_an_interrupted_reading_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    save_facts(path, Question(count=2), NODES, [KINDS, ARCH], AWAY, interrupted=True)
    again = check_words([str(path)])
    assert again.interrupted
    assert "interrupted" in conclusion(again)
    assert "agree" not in conclusion(again)


def test_of_an_older_file_a_node_without_facts_was_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    save_facts(path, Question(count=2), NODES, [KINDS, ARCH])
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("errors", "interrupted")}
    path.write_text(json.dumps(old))
    assert set(load_saved(path).errors) == {"node2"}


def test_without_a_node_that_was_read_an_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    save_facts(path, Question(count=2), NODES, [KINDS, ARCH])
    before = path.read_text()
    with pytest.raises(NodeError, match="nothing is saved, the file stays as it was"):
        save_facts(path, Question(count=2), NODES, [], AWAY)
    assert path.read_text() == before


def test_a_file_without_a_known_fact_is_no_baseline(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({"schema": 1, "nodes": [{"name": "node1"}], "facts": []}))
    with pytest.raises(UsageError, match="is no baseline"):
        check_words(["node1"], baseline=path)


def test_no_folder_is_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be saved"):
        save_facts(tmp_path / "nope/f.json", Question(), NODES, [ARCH])
    assert not (tmp_path / "nope").exists()


@pytest.mark.parametrize(("text", "why"), [("{}", "it names no schema"), ("[1]", "it names no schema"), ("{", "")])
def test_what_is_none_is_told(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="no saved facts") as told:
        load_saved(path)
    assert why in told.value.why
