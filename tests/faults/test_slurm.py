"""Faults under Slurm: its own time limit, a node that fails, a requeue. The nodes are not reached over ssh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import llmctl
from tests.faults.harness import Drill, install, until
from tests.lab import Lab
from tests.lab.slurm import SlurmLab, start_slurm

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """Slurm on two nodes with the small rank; nothing was set up for ssh."""
    shared = tmp_path_factory.mktemp("shared")
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(Lab.start(count=2, shared=shared))
            found = stack.enter_context(start_slurm(lab, shared))
        except RuntimeError as error:
            pytest.skip(f"no Slurm lab: {error}")
        install(lab)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", found.env["SLURM_CONF"])
        yield found


def make_drill(slurm: SlurmLab, folder: Path, *, asked: dict[str, Any] | None = None, **options: Any) -> Drill:
    """A run of the small rank as a job, with `asked` of Slurm."""
    launch = {"backend": "slurm", "slurm": asked or {}}
    sections = {"cluster": {"workdir": str(slurm.shared)}, "launch": launch}
    return Drill(slurm.lab, folder, sections=sections, **options)


def job_of(slurm: SlurmLab, drill: Drill) -> int:
    """The number of the run's job."""
    return int((slurm.shared / "runs" / drill.run.name / "slurm.job").read_text())


def told(slurm: SlurmLab, number: int) -> dict[str, str]:
    """What Slurm says of a job."""
    words = slurm.ask("scontrol", "show", "job", "-o", str(number)).split()
    return dict(word.partition("=")[::2] for word in words)


def nothing_left(drill: Drill) -> None:
    """No process of the run is left on any node."""
    assert drill.left_processes() == []


def test_a_run_is_cancelled_and_spares_another_one_on_the_same_nodes(slurm: SlurmLab, tmp_path: Path) -> None:
    one, two = (make_drill(slurm, tmp_path / name, name=name) for name in ("one", "two"))
    for drill in (one, two):
        drill.start()
    for drill in (one, two):
        drill.until_step(2)
    one.hurt()
    done = llmctl("cancel", one.run, env=slurm.env, code=0)
    assert "processes ended" in done.stdout
    nothing_left(one)
    one.ends(130, "was cancelled", within=30)
    assert told(slurm, job_of(slurm, one))["JobState"] == "CANCELLED"
    assert told(slurm, job_of(slurm, two))["JobState"] == "RUNNING"
    step = max(two.records())
    two.until_step(step + 2)
    two.hurt()
    llmctl("cancel", two.run, env=slurm.env, code=0)
    two.ends(130, within=30)
    nothing_left(two)


def test_at_the_time_limit_it_saves_and_goes_back_to_the_queue(slurm: SlurmLab, tmp_path: Path) -> None:
    # Slurm looks at time limits every 30 s: its signal comes 10 to 40 s after each start.
    drill = make_drill(slurm, tmp_path, asked={"time_limit": "1", "signal_seconds": 50, "requeue": 20}, steps=480)
    drill.start()
    drill.ends(0, "asking the ranks for a checkpoint", "restart 1", "continuing from checkpoint-", within=280)
    assert drill.manifest["state"] == "SUCCEEDED"
    nothing_left(drill)
    assert int(told(slurm, job_of(slurm, drill))["Restarts"]) >= 1
    records = drill.records()
    assert sorted(records) == list(range(1, 481)), "the checkpoint at the signal loses no step"
    first, *again = drill.manifest["attempts"]
    assert first["reason"] == "requeued"
    assert all(each["from_step"] > 0 for each in again)


def test_without_a_requeue_the_time_limit_is_told_and_a_resume_goes_on(slurm: SlurmLab, tmp_path: Path) -> None:
    # Its signal comes 40 to 70 s after the start: ranks run by then, and the limit itself is not there yet.
    drill = make_drill(slurm, tmp_path, asked={"time_limit": "2", "signal_seconds": 80})
    drill.start()
    drill.ends(1, "the time limit is near", "is written", within=150)
    nothing_left(drill)
    saved = drill.saved()
    assert saved == max(drill.records()), "the checkpoint at the signal loses no step"
    sets = ["--set", f"train.max_steps={saved + 5}", "--set", "launch.slurm.time_limit=5"]
    done = llmctl("run", "--resume", drill.run, *sets, env=slurm.env, code=0, timeout=120)
    assert f"continuing from checkpoint-{saved}" in done.stdout
    assert f"SUCCEEDED: {drill.run.name}, {saved + 5} steps" in done.stdout


def test_a_node_that_fails_is_replaced_by_a_requeue(slurm: SlurmLab, tmp_path: Path) -> None:
    drill = make_drill(slurm, tmp_path, asked={"requeue": 2})
    drill.start()
    drill.until_step(8)
    node = slurm.nodes[1]
    slurm.lab.crash(node)
    number = job_of(slurm, drill)
    until("Slurm takes the job back", lambda: told(slurm, number)["Restarts"] == "1", 90)
    slurm.lab.restart(node)
    slurm.boot(node)
    until("it runs again", lambda: "restart 1" in drill.text and "continuing from checkpoint-" in drill.text, 60)
    step = max(drill.records())
    drill.until_step(step + 2)
    llmctl("cancel", drill.run, env=slurm.env, code=0)
    nothing_left(drill)


def test_a_requeue_by_hand_resumes_without_the_two_minutes(slurm: SlurmLab, tmp_path: Path) -> None:
    drill = make_drill(slurm, tmp_path, asked={"requeue": 1})
    drill.start()
    drill.until_step(8)
    slurm.ask("scontrol", "requeue", str(job_of(slurm, drill)))
    drill.hurt()
    until("it runs again", lambda: "continuing from checkpoint-" in drill.text, 60)
    until("the restart is told", lambda: "Slurm started it again: attempt 2" in drill.text, 30)
    drill.hurt()
    llmctl("cancel", drill.run, env=slurm.env, code=0)
    drill.ends(130, within=90)
    nothing_left(drill)


def test_a_failing_rank_ends_the_job_with_its_exit_code(slurm: SlurmLab, tmp_path: Path) -> None:
    drill = make_drill(slurm, tmp_path)
    drill.start()
    drill.until_step(2)
    drill.order(1, "exit 3")
    drill.hurt()
    drill.ends(1, "FAILED first: node2", within=30)
    nothing_left(drill)
    assert drill.manifest["exit_codes"]["node2"] == 1  # torchrun's own
    assert told(slurm, job_of(slurm, drill))["JobState"] == "FAILED"
