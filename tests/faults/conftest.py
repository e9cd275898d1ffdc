"""The lab of the fault table: two nodes with the small rank, made anew when a row has broken them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import set_up
from tests.faults.harness import Drill, install
from tests.lab import Lab

MakeDrill = Callable[..., Drill]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`LLMCTL_SOAK=N` runs every row N times."""
    times = int(os.environ.get("LLMCTL_SOAK", "1"))
    if times > 1:
        metafunc.fixturenames.append("turn")
        metafunc.parametrize("turn", range(times))


def make_lab(stack: ExitStack, **options: Any) -> Lab:
    """A set-up lab with the small rank on its nodes. Skips where this machine cannot carry one."""
    try:
        lab = stack.enter_context(Lab.start(**options))
    except RuntimeError as error:
        pytest.skip(f"no node lab: {error}")
    if lab.site.password is None:
        pytest.skip("needs root and network namespaces")
    set_up(lab)
    install(lab)
    return lab


@dataclass
class Keeper:
    """The lab that rows share, until one of them breaks it."""

    stack: ExitStack = field(default_factory=ExitStack)
    lab: Lab | None = None

    def give(self) -> Lab:
        """The lab, made when there is none."""
        if self.lab is None:
            self.lab = make_lab(self.stack, count=2)
        return self.lab

    def drop(self) -> None:
        """End the lab; the next row gets a new one."""
        self.lab = None
        self.stack.close()


@pytest.fixture(scope="session")
def keeper() -> Iterator[Keeper]:
    """Holds the shared lab of this test process."""
    keeper = Keeper()
    yield keeper
    keeper.drop()


@pytest.fixture
def drill(keeper: Keeper, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeDrill]:
    """A factory of runs on the shared lab, which is thrown away when a row fails."""
    lab = keeper.give()
    made: list[Drill] = []

    def make(**options: Any) -> Drill:
        made.append(Drill(lab, tmp_path, **options))
        return made[-1]

    failed = request.session.testsfailed
    yield make
    for each in made:
        each.abandon()
    if request.session.testsfailed > failed or any(each.left() for each in made if each.runs.is_dir()):
        keeper.drop()


@pytest.fixture
def own_drill(tmp_path: Path) -> Iterator[MakeDrill]:
    """A factory of runs on a lab of the row's own: `own_drill(lab={"count": 3}, steps=40)`."""
    with ExitStack() as stack:
        labs: list[Lab] = []
        made: list[Drill] = []

        def make(*, lab: dict[str, Any] | None = None, **options: Any) -> Drill:
            if not labs:
                labs.append(make_lab(stack, **{"count": 2, **(lab or {})}))
            made.append(Drill(labs[0], tmp_path, **options))
            return made[-1]

        yield make
        for each in made:
            each.abandon()
