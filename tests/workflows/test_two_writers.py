"""Several write to a run's record at once: no entry is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmctl.recipe.hosts import Node
from llmctl.run.folder import RunFolder
from llmctl.run.states import State
from llmctl.workflows.leftover import note_leftover
from llmctl.workflows.manifest import note_state

WRITERS = 8


def test_each_leftover_node_and_state_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    folder = RunFolder(tmp_path / "r-1")
    folder.update_manifest(nodes=[{"name": "node1"}])
    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(WRITERS):
            pool.submit(note_leftover, folder, [Node(name=f"node{number}")])
    assert sorted(each["name"] for each in folder.read_manifest()["leftover"]) == [f"node{n}" for n in range(WRITERS)]
    states = list(State)[:WRITERS]
    with ThreadPoolExecutor(WRITERS) as pool:
        for state in states:
            pool.submit(note_state, folder, state)
    assert sorted(each["state"] for each in folder.read_manifest()["states"]) == sorted(states)
