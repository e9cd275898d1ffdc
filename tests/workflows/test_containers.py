"""Runs in containers, on real nodes with a runtime that writes down what it is told and runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import llmctl
from tests.faults.conftest import make_lab
from tests.faults.harness import Drill, until
from tests.lab import Lab
from tests.lab.containers import IMAGE, IMAGE_FILE, PLACE, calls, running, with_runtime
from tests.workflows.jobs import processes

pytestmark = pytest.mark.lab
SECRET = "hf_in'a\nbox; echo 密"
RUNTIMES = ("docker", "podman", "apptainer")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes with the small rank."""
    with ExitStack() as stack:
        yield make_lab(stack, count=2)


def in_container(lab: Lab, folder: Path, runtime: str, *, backend: str = "ssh", **options: Any) -> Drill:
    """A run whose nodes start containers."""
    image = IMAGE_FILE if runtime == "apptainer" else IMAGE
    sections: dict[str, Any] = {
        "cluster": {
            "container": {"runtime": runtime, "image": image, **options.pop("container", {})},
            "env": {"HF_TOKEN": SECRET, "SMALLRANK_TELL": "told"},
        },
        "launch": {"backend": backend, "launcher": "deepspeed" if backend == "pdsh" else "torchrun"},
    }
    return Drill(lab, folder, sections=sections | ({"deepspeed": {"stage": 2}} if backend == "pdsh" else {}), **options)


def started(lab: Lab, number: int) -> dict[str, Any]:
    """The one call on a node that started a container."""
    (call,) = (call for call in calls(lab, lab.nodes[number]) if call["argv"][0] in ("run", "exec"))
    return call


@pytest.mark.parametrize("backend", ["ssh", "pdsh"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_goes_on_inside_to_its_end(lab: Lab, tmp_path: Path, runtime: str, backend: str) -> None:
    with with_runtime(lab, runtime):
        run = in_container(lab, tmp_path, runtime, backend=backend, steps=6)
        run.start()
        run.ends(0, "SUCCEEDED: drill-", ", 6 steps, last loss", within=90)
        assert run.left() == []
        for number, node in enumerate(lab.nodes):
            words = started(lab, number)["argv"]
            assert "密" not in " ".join(words)
            assert words[-3:] == ["sh", "./inside.sh", str(number)] or words[-2:] == ["./inside.sh", str(number)]
            if runtime != "apptainer":
                assert f"--name=llmctl-{run.run.name}-{node.name}" in words
                assert {"--rm", "--network=host", "--user=0:0", "--ipc=host", f"--workdir={run.run_dir}"} <= set(words)
                assert running(lab, node) == []
            assert started(lab, number)["env"]["LLMCTL_RUN_ID"] == run.run.name
            told = json.loads(lab.read(node, f"{run.run_dir}/told{number}") or "")
            assert told["environ"]["HF_TOKEN"] == SECRET
            assert told["environ"]["LLMCTL_NODE"] == node.name
            assert told["environ"]["LLMCTL_RUN_ID"] == run.run.name
            assert told["cwd"] == run.run_dir


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_cancel_ends_it_through_the_runtime_and_its_checkpoint_is_good(lab: Lab, tmp_path: Path, runtime: str) -> None:
    with with_runtime(lab, runtime):
        run = in_container(lab, tmp_path, runtime)
        run.detach()
        run.until_step(7)
        llmctl("cancel", run.run, env=lab.env, code=0)
        until("nothing is left", lambda: not run.left())
        for node in lab.nodes:
            stops = [call["argv"] for call in calls(lab, node) if call["argv"][0] == "stop"]
            assert [words[:3] for words in stops] == ([] if runtime == "apptainer" else [["stop", "-t", "10"]])
            assert runtime == "apptainer" or running(lab, node) == []
        assert run.saved() == max(run.records())


def test_a_container_whose_client_was_killed_is_ended(lab: Lab, tmp_path: Path) -> None:
    with with_runtime(lab, "docker"):
        run = in_container(lab, tmp_path, "docker")
        run.start()
        run.until_step(3)
        run.hurt()
        run.kill(lab.nodes[1], run.pids(lab.nodes[1], "/usr/local/bin/[d]ocker run")[0])
        run.ends(1, "FAILED first: node2 (exit code 137)", within=30)
        assert run.left() == []
        assert [running(lab, node) for node in lab.nodes] == [[], []]


def test_stop_ends_the_container_of_one_run_on_one_node(lab: Lab, tmp_path: Path) -> None:
    with with_runtime(lab, "docker"):
        one = in_container(lab, tmp_path / "one", "docker", name="one")
        two = in_container(lab, tmp_path / "two", "docker", name="two")
        one.detach()
        two.detach()
        one.until_step(2)
        two.until_step(2)
        node = lab.nodes[1]
        assert lab.exec(node, f"sh {one.run_dir}/stop.sh node1 5").ok
        assert len(running(lab, node)) == 2
        assert lab.exec(node, f"sh {one.run_dir}/stop.sh node2 5").ok
        assert len(running(lab, node)) == 1
        until("the first has ended", lambda: one.manifest["state"] == "FAILED")
        assert processes(lab, one.run.name) == []
        reached = max(two.records())
        two.until_step(reached + 3)
        llmctl("cancel", two.run, env=lab.env, code=0)
        until("nothing is left", lambda: not two.left())


def test_a_silent_daemon_is_told_and_the_processes_are_ended_all_the_same(lab: Lab, tmp_path: Path) -> None:
    with with_runtime(lab, "docker"):
        run = in_container(lab, tmp_path, "docker")
        run.detach()
        run.until_step(3)
        lab.exec(lab.nodes[1], f"mv {PLACE}/socket {PLACE}/gone")
        done = llmctl("cancel", run.run, env=lab.env, code=5)
        assert "node2: its container cannot be ended" in done.stderr
        assert "Cannot connect to the Docker daemon" in done.stderr
        assert processes(lab, run.run.name) == []


def test_what_is_missing_or_differs_blocks_the_start(lab: Lab, tmp_path: Path) -> None:
    with with_runtime(lab, "docker"):
        run = in_container(lab, tmp_path, "docker")
        lab.write(lab.nodes[1], f"{PLACE}/images.json", json.dumps({IMAGE: "sha256:" + "2" * 64}))
        told = llmctl("run", run.recipe(), "--runs", run.runs, env=lab.env, code=3).stdout
        assert "container.image.differs" in told
        lab.write(lab.nodes[1], f"{PLACE}/images.json", "{}")
        told = llmctl("check", run.recipe(), env=lab.env, code=3).stdout
        assert f"node2: the image {IMAGE} is not there" in told
        lab.exec(lab.nodes[0], "rm /usr/local/bin/docker")
        told = llmctl("check", run.recipe(), env=lab.env, code=3).stdout
        assert "node1: docker cannot start containers here" in told
        assert "python" not in told, "what is inside is the image's"
    with with_runtime(lab, "apptainer"):
        run = in_container(lab, tmp_path, "apptainer")
        facts = tmp_path / "facts.json"
        llmctl("check", run.recipe(), "--save", facts, env=lab.env, code=0)
        assert '"696420' in facts.read_text(encoding="utf-8"), "the id in the file's header"
        lab.exec(lab.nodes[1], f"echo more >> '{IMAGE_FILE}'")
        assert "container.image.differs" in llmctl("check", run.recipe(), env=lab.env, code=3).stdout


def test_an_option_that_the_runtime_does_not_know_is_its_own_error(lab: Lab, tmp_path: Path) -> None:
    with with_runtime(lab, "docker"):
        run = in_container(lab, tmp_path, "docker", container={"args": ["--no-such-option=1"]})
        run.start()
        run.ends(1, "unknown flag: --no-such-option", within=60)
        assert run.left() == []
