"""Run folders for supervisors on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmctl.launch.supervised import Job
from tests.launch import supervising


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """`make_job("sleep 60", "name")`: a run folder with the supervisor and a `launch.sh` of a test's own."""
    return lambda script, name="run": supervising.make_job(tmp_path / name, script)
