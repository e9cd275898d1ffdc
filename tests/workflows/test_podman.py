"""A run in real containers: podman on real nodes, an image without a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab
from tests.lab.podman import ARGS, IMAGE, ask, install

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes with the small rank and podman."""
    if not Path("/usr/bin/podman").exists():
        pytest.skip("podman is not there")
    with ExitStack() as stack:
        lab = make_lab(stack, count=2)
        try:
            install(lab)
        except RuntimeError as error:
            pytest.skip(f"podman starts no container in a lab here: {error}")
        yield lab


def test_a_run_in_real_containers_is_cancelled_through_the_runtime(lab: Lab, tmp_path: Path) -> None:
    container = {"runtime": "podman", "image": IMAGE, "args": list(ARGS)}
    run = Drill(lab, tmp_path, sections={"cluster": {"container": container}})
    run.detach()
    run.until_step(7)
    for node in lab.nodes:
        name = ask(lab, node, "podman ps --format '{{.Names}} {{.Labels}}'")
        assert f"llmctl-{run.run.name}-{node.name}" in name
        (inside,) = run.ranks(node)
        assert len((lab.read(node, f"/proc/{inside}/status") or "").split("NSpid:")[1].split("\n")[0].split()) > 1
    llmctl("cancel", run.run, env=lab.env, timeout=180, code=0)
    until("nothing is left", lambda: not run.left(), 90)
    for node in lab.nodes:
        assert ask(lab, node, "podman ps --all --quiet") == ""
    assert run.saved() == max(run.records()), "a rank that is asked to end saves first"
