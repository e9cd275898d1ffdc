"""`llmctl push`: what is said to wrong usage, and how progress looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmctl.cli import push as command
from llmctl.errors import Interrupted
from llmctl.remote.parcel import survey_parcel
from llmctl.workflows.push import Arrival, Push, Step, place_of
from tests.conftest import RunLlmctl


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(tmp_path), "LLMCTL_HOME": str(tmp_path / "home")}


def test_what_is_not_there_is_told(run_llmctl: RunLlmctl, env: dict[str, str], tmp_path: Path) -> None:
    done = run_llmctl("push", tmp_path / "none", "node1", "--to", "/data/", env=env, code=2)
    assert f"{tmp_path / 'none'}: no such file or folder" in done.stderr
    assert "next: the first word is what lies on this machine" in done.stderr


def test_without_a_place_the_option_is_shown(run_llmctl: RunLlmctl, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "my data").write_text("x")
    done = run_llmctl("push", tmp_path / "my data", "node1", env=env, code=2)
    assert "node1: where shall it lie?" in done.stderr
    assert "--to '/data/my data'" in done.stderr


def test_a_link_that_leads_out_is_refused_before_any_node_is_asked(
    run_llmctl: RunLlmctl, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "secret").symlink_to("/etc/shadow")
    done = run_llmctl("push", tmp_path / "folder", "nowhere.invalid", "--to", "/data/", env=env, code=2)
    assert "secret: a link leads out of the folder" in done.stderr
    assert "/etc/shadow" in done.stderr


def test_a_recipe_for_this_machine_alone_has_no_nodes(
    run_llmctl: RunLlmctl, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("x")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\ncluster: {device: cpu}\nlaunch: {backend: local}\nmodel: {path: m}\ndata: {datasets: [d]}\n"
    )
    done = run_llmctl("push", tmp_path / "x", recipe, env=env, code=2)
    assert "this recipe runs on this machine alone" in done.stderr


def test_a_node_that_resolves_nowhere_is_its_own_result(
    run_llmctl: RunLlmctl, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("x")
    done = run_llmctl("push", tmp_path / "x", "no-such-node.invalid", "--to", "/data/", env=env, code=5)
    assert "no-such-node.invalid:/data/x: FAILED: the name resolves nowhere" in done.stdout
    assert "0 of 1 nodes have the 1 file" in done.stdout


@pytest.mark.parametrize(
    ("to", "workdir", "wanted", "place"),
    [
        ("/data/models/", None, [], "/data/models/llama"),
        ("/data/other", "/w", [], "/data/other"),
        ("~/models/", None, [], "~/models/llama"),
        ("sub/", "/w", [], "/w/sub/llama"),
        (None, "/w", [], "/w/llama"),
        (None, "/w", ["data", "weights/llama"], "/w/weights/llama"),
        (None, "/w", ["/big/llama"], "/big/llama"),
    ],
)
def test_where_it_goes(to: str | None, workdir: str | None, wanted: list[str], place: str, tmp_path: Path) -> None:
    assert place_of(tmp_path / "llama", to, workdir, wanted, "node1") == place


def test_in_a_pipe_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(command.time, "monotonic", lambda: now)
    with command.Board() as board:
        board.tell(Step(node="node1", phase="copying", done=0, total=400_000_000))
        board.tell(Step(node="node2", phase="idle", done=0))
        now = 120.0
        board.tell(Step(node="node1", phase="copying", done=100_000_000, total=400_000_000))
        board.tell(Step(node="node1", phase="copying", done=101_000_000, total=400_000_000))
    assert capsys.readouterr().err == "... launcher -> node1 100.0 MB of 400.0 MB, 5.0 MB/s, 1:00 left\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (26.5e9, "26.5 GB"), (2e13, "20000.0 GB")]
)
def test_sizes_are_readable(count: float, text: str) -> None:
    assert command.size(count) == text


def test_a_push_that_was_stopped_does_not_say_that_nothing_was_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    stopped = Arrival(node="node1", path="/data/file", error=Interrupted("it was stopped"))
    result = Push(parcel=survey_parcel(tmp_path / "file", lambda _: None), arrivals=(stopped,), from_launcher=0)
    assert command._as_text(result).endswith("1 B; stopped, what has come stays there for the next push")
