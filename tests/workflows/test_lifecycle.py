"""What is asked of a run that has not started yet."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from llmctl.launch.supervised import Job
from llmctl.recipe.hosts import Node
from llmctl.resources import onnode_file
from llmctl.run.folder import RunFolder
from llmctl.run.states import State
from llmctl.workflows.manifest import SCHEMA, note_state
from llmctl.workflows.status import status
from tests.workflows.test_follow import Notes


def test_a_run_that_is_being_staged_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    folder = RunFolder(tmp_path / "r-20261121-093000-kqzt")
    job = Job(run_id=folder.run_id, run_dir=str(folder.root), nodes=("here",), python=sys.executable, shell="sh")
    manifest = {"schema": SCHEMA, "backend": "local", "login": {"user": None, "port": None}, "job": asdict(job)}
    note_state(folder, State.STAGING, nodes=[asdict(Node(name="here"))], **manifest)
    (folder.root / "supervisor.py").write_bytes(onnode_file("supervisor.py").read_bytes())
    for _ in range(2):
        assert status(str(folder.root), runs=None, watcher=Notes()).state is State.STAGING
    (noted,) = json.loads(folder.manifest.read_text())["states"]
    assert noted["state"] == "STAGING"
