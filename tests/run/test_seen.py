"""What is remembered of a run's nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.run.folder import RunFolder
from llmctl.run.seen import NodeSeen, read_seen, remember
from llmctl.run.states import State


def test_what_a_node_told_comes_back_and_older_answers_of_others_stay(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_seen(folder) == {}
    one = NodeSeen(node="node1", answered=10.0, state=State.RUNNING, step=3, loss=1.5, devices=({"use_percent": 7},))
    two = NodeSeen(node="node2", answered=11.0)
    remember(folder, {"node1": one, "node2": two})
    newer = NodeSeen(node="node2", answered=20.0, state=State.FAILED, exit_code=137)
    remember(folder, {"node2": newer})
    assert read_seen(folder) == {"node1": one, "node2": newer}


@pytest.mark.parametrize("text", ["", "[]", '{"n": 1}', '{"n": {"state": "GONE", "devices": []}}', '{"n": {"x": 1}}'])
def test_what_cannot_be_read_counts_as_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "seen.json").write_text(text)
    assert read_seen(RunFolder(tmp_path)) == {}
