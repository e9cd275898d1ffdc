"""Who acts for a run when nobody watches it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmctl.run.acting import acting, actor
from llmctl.run.folder import RunFolder
from tests.conftest import llmctl
from tests.lab import Lab
from tests.workflows.jobs import ENDLESS, only_run, processes, write_recipe


def until(told: Callable[[], Any], seconds: float = 60) -> Any:
    """The first answer that is not false. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := told()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
    return answer


def test_one_process_acts_for_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert actor(folder) is None
    with acting(folder) as ours:
        assert ours
        assert actor(folder) is not None
        with acting(folder) as second:
            assert not second
    assert actor(folder) is None
    assert (tmp_path / "keeper.lock").read_text() == "", "nobody is taken for the next one"
    with acting(folder) as again:
        assert again


@pytest.mark.lab
@pytest.mark.engine
def test_a_failure_of_a_detached_run_is_acted_on_and_collected(lab: Lab, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, lab, train=ENDLESS)
    llmctl("run", recipe, "--runs", tmp_path / "runs", "--detach", env=lab.env, code=0)
    run = only_run(tmp_path / "runs")
    keeper = until(lambda: actor(RunFolder(run)))
    assert Path(f"/proc/{keeper}/fd/0").resolve() == Path("/dev/null")
    assert Path(f"/proc/{keeper}/stat").read_text().rpartition(")")[2].split()[3] == str(keeper), "a session of its own"

    records = f"/tmp/llmctl/runs/{run.name}/output/steps.jsonl"
    until(lambda: '"record": "step"' in (lab.read(lab.nodes[0], records) or ""))
    victim = next(
        line
        for line in lab.exec(lab.nodes[1], "ps -eo pid,args").stdout.splitlines()
        if "-m llmctl_engine engine.json" in line and "torch.distributed.run" not in line
    )
    lab.exec(lab.nodes[1], f"kill -9 {victim.split()[0]}")
    until(lambda: json.loads((run / "manifest.json").read_text())["state"] == "FAILED", 40)
    until(lambda: actor(RunFolder(run)) is None, 10)
    assert processes(lab, run.name) == []
    assert json.loads((run / "manifest.json").read_text())["failure"]["node"] == "node2"
    assert (run / "logs" / "node2" / "rank1.log").is_file()
    assert "a failure; stopping every node" in (run / "keeper.log").read_text()
