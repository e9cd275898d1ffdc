"""The command that hears of a run's end: what it is told, and that its own troubles are not the run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmctl.onnode.supervisor import stat_of
from llmctl.run.folder import RunFolder
from llmctl.workflows import notifying
from llmctl.workflows.notifying import notify
from tests.conftest import llmctl
from tests.engine.runs import INIT, rows, write_data
from tests.faults.harness import until


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def folder_with(path: Path, command: str | None) -> RunFolder:
    """A run that has failed, as its manifest tells it."""
    folder = RunFolder(path / "run '1' 实验")
    folder.update_manifest(
        run_id="r-20260101-000000-abcd", name="r", state="FAILED", output="node1:/w/output", last_step=7,
        nodes=[{"name": "node1"}, {"name": "node2"}], launch={"notify": command}, total_steps=9, last_loss=None,
        failure={"node": "node2", "rank": 1, "message": "it's $HOME; echo `id`\nline 2 内存"},
    )  # fmt: skip
    return folder


def test_the_facts_come_by_environment_and_standard_input(tmp_path: Path) -> None:
    command = 'cat > told.json; env -0 > env; tr "\\0" "\\n" < /proc/$$/cmdline > argv; echo heard'
    folder, notes = folder_with(tmp_path, command), Notes()
    notify(folder, "ended", notes)
    assert notes.told == []
    told: dict[str, Any] = json.loads((folder.root / "told.json").read_text(encoding="utf-8"))
    assert (told["event"], told["state"], told["nodes"]) == ("ended", "FAILED", ["node1", "node2"])
    assert told["failure"]["message"] == "it's $HOME; echo `id`\nline 2 内存"
    env = dict(line.partition("=")[::2] for line in (folder.root / "env").read_text(encoding="utf-8").split("\0"))
    assert env["LLMCTL_NOTIFY_FAILURE"] == told["failure"]["message"]
    assert env["LLMCTL_NOTIFY_RUN"] == "r-20260101-000000-abcd"
    assert env["LLMCTL_NOTIFY_FOLDER"] == str(folder.root)
    assert env["LLMCTL_NOTIFY_LAST_LOSS"] == ""
    assert "LLMCTL_RUN_ID" not in env, "a cancel would end the command"
    assert "FAILED" not in (folder.root / "argv").read_text(encoding="utf-8")
    assert (folder.root / "notify.log").read_text() == "heard\n"


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    folder, notes = folder_with(tmp_path, "echo no >&2; exit 3"), Notes()
    notify(folder, "ended", notes)
    assert notes.told == [f"launch.notify failed with exit code 3: {folder.root}/notify.log"]


def test_it_gets_no_more_than_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "SECONDS", 2.0)
    folder, notes = folder_with(tmp_path, "sleep 600 & echo $! > child; sleep 600"), Notes()
    notify(folder, "ended", notes)
    assert "was ended after" in notes.told[0]
    child = int((folder.root / "child").read_text())
    until("its child has ended", lambda: stat_of(child) is None)


def test_without_a_command_nothing_is_done(tmp_path: Path) -> None:
    folder, notes = folder_with(tmp_path, None), Notes()
    notify(folder, "ended", notes)
    assert notes.told == []
    assert not (folder.root / "notify.log").exists()


@pytest.mark.engine
@pytest.mark.parametrize(("sets", "state", "code"), [((), "SUCCEEDED", 0), (("cluster.python=/nowhere",), "FAILED", 1)])
def test_a_run_notifies_once_with_its_own_name(tmp_path: Path, sets: tuple[str, ...], state: str, code: int) -> None:
    write_data(tmp_path / "data", rows(8))
    recipe = tmp_path / "job.yaml"
    text = {
        "name": "job", "cluster": {"device": "cpu"}, "model": {"init": dict(INIT)},
        "launch": {"backend": "local", "notify": "echo $LLMCTL_NOTIFY_EVENT $LLMCTL_NOTIFY_STATE >> ../heard; false"},
        "data": {"datasets": ["numbers"], "cutoff_len": 64, "packing": "none"}, "train": {"max_steps": 2},
    }  # fmt: skip
    recipe.write_text(json.dumps(text), encoding="utf-8")
    words = [word for each in sets for word in ("--set", each)]
    allowed = ["--allow-drift", "python.executable.missing"] if sets else []
    done = llmctl("run", recipe, "--name", "own.name-1", *words, *allowed, cwd=tmp_path, code=code)
    assert (tmp_path / "runs" / "heard").read_text() == f"ended {state}\n"
    assert "launch.notify failed with exit code 1" in done.stderr
    (run,) = (path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert run.startswith("own.name-1-")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "'; echo foo", "a\n", "实验", "%h", "a" * 65, "a/b"])
def test_a_name_that_cannot_begin_a_run_id_is_refused(tmp_path: Path, name: str) -> None:
    done = llmctl("run", "quickstart", "--name", name, cwd=tmp_path, code=2)
    assert f"no name for a run: {name!r}" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_continued_keeps_its_name(tmp_path: Path) -> None:
    assert "--name is for a new run" in llmctl("run", "--resume", "x", "--name", "y", cwd=tmp_path, code=2).stderr
