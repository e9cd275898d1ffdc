"""Random values of a recipe through a real Slurm job: the ranks get them as they were, in a container too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.conftest import llmctl
from tests.faults.harness import Drill, install, until
from tests.hostile import batches
from tests.lab import Lab
from tests.lab.containers import IMAGE, calls, running, with_runtime
from tests.lab.slurm import SlurmLab, start_slurm
from tests.workflows.test_hostile_values import WORST, altered, bounded, in_quotes

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """Slurm on two nodes with the small rank."""
    shared = tmp_path_factory.mktemp("shared")
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(Lab.start(count=2, shared=shared))
            found = stack.enter_context(start_slurm(lab, shared))
        except RuntimeError as error:
            pytest.skip(f"no Slurm lab: {error}")
        install(lab)
        yield found


def told(slurm: SlurmLab, folder: Path, **cluster: Any) -> list[dict[str, Any]]:
    """What each rank of a run with these keys found: `argv`, `cwd`, `environ`."""
    sections = {"cluster": cluster, "launch": {"backend": "slurm", "slurm": {}}}
    drill = Drill(slurm.lab, folder / str(len(list(folder.iterdir()))), steps=3, sections=sections)
    llmctl("run", drill.recipe(), "--runs", drill.runs, env=slurm.env, code=0, timeout=180)
    run_dir = Path(cluster["workdir"]) / "runs" / drill.run.name
    return [json.loads((run_dir / f"told{rank}").read_text(encoding="utf-8")) for rank in (0, 1)]


@settings(bounded, max_examples=1)
@given(env=batches(120))
def test_variables_arrive_unchanged(
    slurm: SlurmLab, tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]
) -> None:
    folder, workdir = tmp_path_factory.mktemp("hostile"), slurm.shared / WORST.replace("%h \\ ", "")
    for each in told(slurm, folder, workdir=str(workdir), env=in_quotes(env)):
        assert altered(env, each["environ"]) == {}
        assert each["cwd"].startswith(str(workdir / "runs"))


@pytest.mark.parametrize("name", ["%h", "100%", "a\\b"])
def test_a_folder_that_slurm_reads_as_something_else_is_refused(slurm: SlurmLab, tmp_path: Path, name: str) -> None:
    sections = {"cluster": {"workdir": f"/tmp/{name}"}, "launch": {"backend": "slurm", "slurm": {}}}
    drill = Drill(slurm.lab, tmp_path, sections=sections)
    done = llmctl("run", drill.recipe(), "--runs", drill.runs, env=slurm.env, code=2)
    assert "Slurm cannot write its log in" in done.stderr
    assert "cluster.workdir" in done.stderr


def test_a_job_runs_in_containers(slurm: SlurmLab, tmp_path: Path) -> None:
    with with_runtime(slurm.lab, "docker"):
        container = {"runtime": "docker", "image": IMAGE}
        env = {"HF_TOKEN": WORST}
        for number, each in enumerate(
            told(slurm, tmp_path, workdir=str(slurm.shared), container=container, env=in_quotes(env))
        ):
            node = slurm.lab.nodes[number]
            assert altered(env, each["environ"]) == {}
            (argv,) = (call["argv"] for call in calls(slurm.lab, node) if call["argv"][0] == "run")
            assert WORST not in " ".join(argv)
            assert "--env=LLMCTL_MASTER_ADDR" in argv
            assert running(slurm.lab, node) == []


def test_the_check_goes_through_slurm_and_a_clean_over_ssh_is_refused(slurm: SlurmLab, tmp_path: Path) -> None:
    sections = {"cluster": {"workdir": str(slurm.shared)}, "launch": {"backend": "slurm", "slurm": {}}}
    drill = Drill(slurm.lab, tmp_path, steps=3, sections=sections)
    told = json.loads(llmctl("check", drill.recipe(), "--json", env=slurm.env, code=0).stdout)
    names = [fact["node"] for fact in told["facts"] if fact["name"] == "disk.workdir.writable" and not fact["error"]]
    assert names == [node.name for node in slurm.lab.nodes]
    until("the allocation is given back", lambda: not slurm.ask("squeue", "-h"))
    assert "--collective" in llmctl("check", drill.recipe(), "--collective", env=slurm.env, code=2).stderr
    llmctl("run", drill.recipe(), "--runs", drill.runs, env=slurm.env, code=0, timeout=180)
    refused = llmctl("nodes", "clean", "--run", drill.run, "--dry-run", env=slurm.env, code=2).stderr
    assert f"squeue --name={drill.run.name}" in refused
