"""Run folders for supervisors on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmctl.launch.supervised import Job
from tests.conftest import set_up
from tests.lab import Lab
from tests.lab.slurm import start_slurm
from tests.launch import supervising
from tests.launch.backend_runs import Site


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """`make_job("sleep 60", "name")`: a run folder with the supervisor and a `launch.sh` of a test's own."""
    return lambda script, name="run": supervising.make_job(tmp_path / name, script)


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two set-up nodes with a Slurm, which this process reaches as a launcher would."""
    shared = tmp_path_factory.mktemp("shared")
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(Lab.start(count=2, shared=shared))
            slurm = stack.enter_context(start_slurm(lab, shared))
        except RuntimeError as error:
            pytest.skip(f"no node lab: {error}")
        set_up(lab)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in ("HOME", "LLMCTL_HOME", "SLURM_CONF"):
            patch.setenv(name, slurm.env[name])
        yield Site(lab, slurm)
