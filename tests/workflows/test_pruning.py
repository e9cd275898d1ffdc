"""Old runs are removed where and when they may be, and nothing else is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import UsageError
from llmctl.run import index
from llmctl.run.acting import acting
from llmctl.run.folder import RunFolder, write_json
from llmctl.run.index import IndexEntry
from llmctl.run.states import State
from llmctl.workflows.pruning import PruneRequest, Pruning, choose, seconds_of
from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab

NOW = 1_800_000_000.0
DAY = 86400.0


def entry(number: int, state: State, days: float) -> IndexEntry:
    return IndexEntry(
        run_id=f"r-2026010{number}-000000-abcd", path=f"/x/{number}", state=state, updated=NOW - days * DAY, nodes=()
    )


RUNS = [
    entry(1, State.SUCCEEDED, 40), entry(2, State.FAILED, 35), entry(3, State.RUNNING, 33),
    entry(4, State.LOST, 5), entry(5, State.SUCCEEDED, 1), entry(6, State.STAGING, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "numbers"),
    [
        (PruneRequest(older_than=30 * DAY), [1, 2]),
        (PruneRequest(keep=1), [1, 2, 4]),
        (PruneRequest(keep=0), [1, 2, 4, 5]),
        (PruneRequest(keep=9), []),
        (PruneRequest(states=(State.FAILED, State.LOST)), [2, 4]),
        (PruneRequest(states=(State.LOST,), older_than=30 * DAY), []),
        (PruneRequest(older_than=0, keep=2), [1, 2]),
    ],
)
def test_only_runs_that_are_over_and_meant_are_chosen(request_: PruneRequest, numbers: list[int]) -> None:
    assert [each.path for each in choose(RUNS, request_, NOW)] == [f"/x/{number}" for number in numbers]


def test_without_a_bound_nothing_is_chosen() -> None:
    with pytest.raises(UsageError, match="which runs shall go"):
        choose(RUNS, PruneRequest(), NOW)


def test_ages() -> None:
    assert [seconds_of(text) for text in ("90m", "1.5h", "30d", "4w")] == [5400, 5400, 30 * DAY, 28 * DAY]
    for text in ("30", "d", "-1d", "1y", "1 d"):
        with pytest.raises(UsageError, match="is not understood"):
            seconds_of(text)


def made(runs: Path, number: int, state: State, *, schema: int = 1, days: float = 40) -> RunFolder:
    """A run of this machine alone, as the index knows it."""
    folder = RunFolder(runs / f"r-2026010{number}-000000-abcd")
    job = {"run_id": folder.run_id, "run_dir": str(folder.root), "nodes": ["localhost"], "python": "p", "shell": "sh"}
    folder.update_manifest(
        schema=schema, state=state, backend="local", nodes=[{"name": "localhost"}], job=job, login={}
    )
    (folder.root / "logs").mkdir()
    (folder.root / "logs" / "big 日志.log").write_bytes(b"x" * 1_000_000)
    index.record(folder, state, ("localhost",))
    place = index.home_dir() / "runs.json"
    known = json.loads(place.read_text())
    known[folder.run_id]["updated"] = time.time() - days * DAY
    write_json(place, known)
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for runs, with an index of its own."""
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    return tmp_path / "runs it's"


def test_what_goes_is_shown_first_and_then_gone(runs: Path) -> None:
    old, newer, running = made(runs, 1, State.FAILED), made(runs, 2, State.FAILED, days=3), made(runs, 3, State.RUNNING)
    told = llmctl("runs", "prune", "--older-than", "30d", "--dry-run", code=0).stdout
    assert old.run_id in told
    assert newer.run_id not in told
    assert "frees at most 2 MB" in told
    assert old.root.exists()
    assert "no terminal to ask at" in llmctl("runs", "prune", "--keep", "1", code=2).stderr
    done = llmctl("runs", "prune", "--older-than", "30d", "--yes", code=0)
    assert f"removed {old.run_id}" in done.stdout
    assert [each.exists() for each in (old.root, newer.root, running.root)] == [False, True, True]
    assert [each["run"] for each in json.loads(llmctl("ps", "--json", code=0).stdout)] == [newer.run_id, running.run_id]
    assert old.run_id not in (index.home_dir() / "runs.json").read_text()


@pytest.mark.parametrize("name", ["checkpoint-5/state.bin", "model.safetensors"])
def test_weights_stay_unless_they_are_asked_for(runs: Path, name: str) -> None:
    folder = made(runs, 1, State.SUCCEEDED)
    path = folder.output / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"w" * 1000)
    (told,) = json.loads(llmctl("runs", "prune", "--keep", "0", "--yes", "--json", code=0).stdout)
    assert (told["removed"], told["error"]) == (False, None)
    assert "--checkpoints" in told["stays"]
    assert (folder.root / "logs").is_dir()
    (told,) = json.loads(llmctl("runs", "prune", "--keep", "0", "--yes", "--json", "--checkpoints", code=0).stdout)
    assert told["removed"]
    assert not folder.root.exists()


def test_folders_of_slurm_are_not_reached_over_ssh(runs: Path) -> None:
    folder = made(runs, 1, State.SUCCEEDED)
    folder.manifest.write_text(json.dumps(folder.read_manifest() | {"backend": "slurm"}))
    (told,) = json.loads(llmctl("runs", "prune", "--keep", "0", "--nodes", "--yes", "--json", code=0).stdout)
    assert (told["removed"], told["error"]) == (False, None)
    assert "Slurm ran it on a shared disk" in told["stays"]
    assert folder.root.exists()


def test_each_run_has_its_own_outcome(runs: Path) -> None:
    kept, broken, gone = made(runs, 1, State.FAILED), made(runs, 2, State.LOST), made(runs, 3, State.CANCELLED)
    broken.manifest.write_text("{")
    with acting(kept):
        done = llmctl("runs", "prune", "--keep", "0", "--nodes", "--yes", "--json", code=2)
    told: list[dict[str, Any]] = json.loads(done.stdout)
    assert [each["run"] for each in told] == [kept.run_id, broken.run_id, gone.run_id]
    assert told[0]["stays"] == "another llmctl acts for it"
    assert "the manifest cannot be read" in told[1]["error"]
    assert [each["removed"] for each in told] == [False, False, True]


def test_a_run_that_was_continued_stays(runs: Path) -> None:
    elsewhere, meanwhile = made(runs, 1, State.FAILED), made(runs, 2, State.FAILED)
    elsewhere.update_manifest(state=State.RUNNING)  # with another index
    pruning = Pruning(PruneRequest(keep=0))
    found = [outcome.value for outcome in pruning.look() if outcome.value]
    assert [each.stays for each in found] == ["it is RUNNING", ""]
    meanwhile.update_manifest(state=State.STAGING)
    for outcome in pruning.remove(found):
        assert "it was continued meanwhile" in str(outcome.error)
    assert elsewhere.manifest.is_file()
    assert meanwhile.manifest.is_file()


def test_a_state_that_is_none_is_refused(runs: Path) -> None:
    assert (
        "one of CANCELLED, FAILED, LOST, SUCCEEDED"
        in llmctl("runs", "prune", "--state", "RUNNING", "--dry-run", code=2).stderr
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes of the module's own: one is cut off."""
    with ExitStack() as stack:
        yield make_lab(stack, count=2)


@pytest.mark.lab
def test_folders_on_nodes_go_with_all_but_their_weights(lab: Lab, tmp_path: Path) -> None:
    one = Drill(lab, tmp_path, steps=6, name="one")
    two = Drill(lab, tmp_path, name="two")
    one.start()
    one.ends(0, "SUCCEEDED", within=60)
    two.detach()
    two.until_step(2)
    words = ("runs", "prune", "--keep", "0", "--nodes", "--yes", "--json")
    lab.cut(lab.nodes[1])
    (told,) = json.loads(llmctl(*words, env=lab.env, code=5).stdout)
    lab.join(lab.nodes[1])
    assert "node2" in told["error"]
    assert (one.run / "manifest.json").is_file()
    (told,) = json.loads(llmctl(*words, env=lab.env, code=0).stdout)
    run_dir = f"{lab.nodes[0].workdir}/runs/{told['run']}"
    assert told["removed"]
    assert min(told["nodes"].values()) > 100_000
    assert told["left"] == [f"{node.name}:{run_dir}/output" for node in lab.nodes]
    for node in lab.nodes:
        assert lab.exec(node, f"ls {run_dir}").stdout.split() == ["output"]
        assert lab.exec(node, f"ls -d {run_dir}/output/checkpoint-6").ok
    assert not (tmp_path / "runs-one" / told["run"]).exists()

    # What the manifest calls over may live on: then nothing of it goes.
    llmctl("cancel", two.run, env=lab.env, code=0)
    until("it is over", lambda: not two.left())
    stray = f"LLMCTL_RUN_ID={two.run.name} setsid sleep 3600 >/dev/null 2>&1 & echo $!"
    pid = lab.exec(lab.nodes[1], stray).stdout.strip()
    (told,) = json.loads(llmctl(*words, "--checkpoints", env=lab.env, code=5).stdout)
    assert "node2: processes of it are there" in told["error"]
    lab.exec(lab.nodes[1], f"kill {pid}")
    (told,) = json.loads(llmctl(*words, "--checkpoints", env=lab.env, code=0).stdout)
    assert (told["removed"], told["left"]) == (True, [])
    for node in lab.nodes:
        assert not lab.exec(node, f"ls -d {lab.nodes[0].workdir}/runs/{told['run']}").ok
