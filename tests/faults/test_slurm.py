"""Faults under Slurm: its own time limit, a node that fails, a requeue. The nodes are not reached over ssh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import llmctl
from tests.faults.harness import Drill, install, until
from tests.lab import Lab
from tests.lab.slurm import SlurmLab, start_slurm
from tests.workflows.jobs import processes

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
        yield found


class SlurmDrill(Drill):
    """A run of the small rank as a job."""


def make_drill(slurm: SlurmLab, folder: Path, *, slurm_options: dict[str, Any] | None = None, **options: Any) -> Drill:
    """A run of the small rank as a job of Slurm."""
    launch = {"backend": "slurm", "slurm": slurm_options or {}, **options.pop("launch", {})}
    sections = {"cluster": {"workdir": str(slurm.shared)}, "launch": launch}
    return Drill(slurm.lab, folder, sections=sections, **options)


def test_a_run_to_its_end(slurm: SlurmLab, tmp_path: Path) -> None:
    drill = make_drill(slurm, tmp_path, steps=12)
    done = llmctl("run", drill.recipe(), "--runs", drill.runs, env=slurm.env)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
