"""The quickstart with the real engine on two slurmd nodes: cancelled, resumed, requeued, and the same in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import llmctl
from tests.faults.harness import until
from tests.lab import Lab
from tests.lab.slurm import SlurmLab, start_slurm
from tests.workflows.jobs import Started, losses, only_run, processes

pytestmark = [pytest.mark.lab, pytest.mark.engine]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """Slurm on two nodes; nothing was set up for ssh."""
    shared = tmp_path_factory.mktemp("shared")
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(Lab.start(count=2, shared=shared))
            found = stack.enter_context(start_slurm(lab, shared))
        except RuntimeError as error:
            pytest.skip(f"no Slurm lab: {error}")
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", found.env["SLURM_CONF"])
        yield found


def test_the_quickstart_is_cancelled_requeued_and_resumes(slurm: SlurmLab, tmp_path: Path) -> None:
    lab, runs = slurm.lab, tmp_path / "runs"
    sets = [
        "launch.backend=slurm", "launch.slurm={requeue: 1, args: [--cpus-per-task=4]}", "cluster.nodes=[node1,node2]",
        "cluster.devices_per_node=1", f"cluster.workdir={slurm.shared}", f"cluster.python={lab.python}",
        "train.max_steps=240", "train.save_steps=5", "train.save_total_limit=2",
    ]  # fmt: skip
    words = [word for each in sets for word in ("--set", each)]
    first = Started("quickstart", lab, "--runs", str(runs), *words, backlog=tmp_path / "first")
    first.until("step 7/", 150)
    run = only_run(runs)
    llmctl("cancel", run, env=lab.env, code=0)
    assert first.wait() == 130, first.text
    assert processes(lab, run.name) == []

    again = Started("--resume", lab, str(run), backlog=tmp_path / "again")
    again.until("continuing from checkpoint-", 120)
    again.until("step 17/", 120)
    number = (slurm.shared / "runs" / run.name / "slurm.job").read_text().strip()
    slurm.ask("scontrol", "requeue", number)
    again.until("restart 1", 90)
    assert again.wait(300) == 0, again.text
    assert again.text.count("continuing from checkpoint-") == 2
    assert f"SUCCEEDED: {run.name}, 240 steps" in again.text
    assert processes(lab, run.name) == []
    assert len(losses(run)) == 240
    records = (run / "output" / "steps.jsonl").read_text().splitlines()
    by_step: dict[int, set[float]] = {}
    for record in map(json.loads, records):
        if record["record"] == "step":
            by_step.setdefault(record["step"], set()).add(record["loss"])
    assert all(len(each) == 1 for each in by_step.values()), "a step that was made twice has the same loss"
    until("Slurm's own end", lambda: "JobState=COMPLETED" in slurm.ask("scontrol", "show", "job", number))
