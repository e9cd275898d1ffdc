"""Runs on this machine for tests of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.jobs import LocalJob

MakeJob = Callable[..., LocalJob]


@pytest.fixture
def local_job(tmp_path: Path) -> Iterator[MakeJob]:
    """A factory: `local_job(steps=40)` gives a recipe whose run is ended with the test."""
    made: list[LocalJob] = []

    def make(**options: int) -> LocalJob:
        made.append(LocalJob(tmp_path, **options))
        return made[-1]

    yield make
    for job in made:
        job.close()
