"""The ranks of a recipe meet on real nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.errors import UsageError
from llmctl.workflows import collective
from llmctl.workflows.check import CheckResult, check_words
from tests.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.engine]
RECIPE = """\
name: meet
cluster:
  device: cpu
  nodes: [node1, node2]
  devices_per_node: 2
  workdir: /tmp/llmctl
  python: '{python}'
  env: {{PYTHONPATH: /tmp/own modules}}
launch: {{backend: ssh, launcher: torchrun}}
model: {{init: {{model_type: llama}}, template: default@0.9.5}}
data: {{dir: data, datasets: [rows]}}
"""


@pytest.fixture
def recipe(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}')
    (tmp_path / "data/rows.json").write_text('[{"instruction": "Say yes.", "output": "Yes."}]')
    path = tmp_path / "meet.yaml"
    path.write_text(RECIPE.format(python=lab.python))
    return str(path)


def codes(result: CheckResult) -> list[str]:
    return [finding.code for finding in result.findings if finding.code.startswith("collective")]


def test_ranks_of_two_nodes_meet(recipe: str) -> None:
    result = check_words([recipe], collective=True)
    assert not result.errors
    assert codes(result) == []
    told = {fact.node: fact.value for fact in result.facts if fact.name == collective.NAME}
    states = [state["state"] for node in ("node1", "node2") for state in told[node]["ranks"].values()]
    assert states == ["done"] * 4
    assert 0 < told["node1"]["peers"]["node2"] < 30


@pytest.mark.parametrize(("torch", "words"), [
    ("raise OSError('no libgloo')", "node2: rank 2 did not start: OSError: no libgloo"),
    ("import time; time.sleep(300)", "node2: rank 2 did not start: no end after 30 s"),
])  # fmt: skip
def test_the_node_whose_ranks_do_not_come_is_named(
    lab: Lab, recipe: str, monkeypatch: pytest.MonkeyPatch, torch: str, words: str
) -> None:
    monkeypatch.setattr(collective, "SECONDS", 30)
    node = lab.nodes[1]
    lab.write(node, "/tmp/own modules/torch.py", torch + "\n")
    try:
        result = check_words([recipe], collective=True)
    finally:
        lab.exec(node, "rm -r '/tmp/own modules'")
    (finding,) = [finding for finding in result.findings if finding.code == "collective.wrong"]
    assert finding.title == words
    assert finding.nodes == ("node2",)
    left = lab.exec(node, "pgrep -f '[p]ython[0-9.]* -$' || true").stdout
    assert left == ""


def test_only_a_recipe_has_ranks() -> None:
    with pytest.raises(UsageError, match="ranks of a recipe"):
        check_words(["node1"], collective=True)
