"""The Slurm backend: devices and variables of the nodes, nodes of Slurm's choice, a job that somebody else ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import LlmctlError
from llmctl.launch import slurm_asking
from llmctl.launch.slurm_state import SlurmJob, judge, read_jobcomp, read_sacct, read_scontrol
from llmctl.launch.supervised import NodeReport
from llmctl.recipe.hosts import Node
from llmctl.remote.fanout import fan_out
from llmctl.remote.transport import CommandResult
from llmctl.run.states import ENDED, State
from llmctl.workflows import slurm_gate
from llmctl.workflows.render import draft
from tests.launch.backend_runs import GRACE, Run, Site, submit, write_recipe

SHOWN = (
    "JobId=12 JobName=quickstart-1 UserId=root(0) GroupId=root(0) JobState={state} Reason={reason} Dependency=(null) "
    "Requeue=1 Restarts={restarts} BatchFlag=1 Reboot=0 ExitCode={code} RunTime=00:00:07 NodeList={nodes} BatchHost=n1"
    " EligibleTime=2026-11-21T13:57:00"
)


@pytest.mark.parametrize(
    ("state", "code", "told", "exit_code"),
    [
        ("COMPLETED", "0:0", State.SUCCEEDED, 0),
        ("FAILED", "3:0", State.FAILED, 3),
        ("CANCELLED", "0:0", State.CANCELLED, 0),
        ("TIMEOUT", "0:0", State.FAILED, 0),
        ("OUT_OF_MEMORY", "0:125", State.FAILED, 253),
        ("NODE_FAIL", "1:0", State.LOST, 1),
        ("PREEMPTED", "0:15", State.LOST, 143),
        ("RUNNING", "0:0", None, 0),
        ("COMPLETING", "0:9", None, 137),
        ("CONFIGURING", "0:0", None, 0),
    ],
)
def test_a_state_of_slurm_is_one_of_a_run(state: str, code: str, told: State | None, exit_code: int) -> None:
    job = read_scontrol(SHOWN.format(state=state, reason="None", restarts=0, code=code, nodes="node[1-2]"))
    assert job == SlurmJob(state=state, exit_code=exit_code, nodes="node[1-2]")
    assert not job.held_back
    assert job.ended is told


def test_a_job_in_the_queue_tells_why_it_waits() -> None:
    told = SHOWN.format(state="PENDING", reason="BeginTime", restarts=1, code="0:0", nodes="(null)")
    asked = (read_scontrol(f"{told}\nNow=2026-11-21T13:{time}\n") for time in ("55:05", "55:30", "58:00"))
    clearing, job, later = asked
    assert job is not None
    assert [each.held_back for each in (clearing, later) if each] == [False, False]
    assert (job.waits, job.held_back, job.reason, job.nodes) == (True, True, "BeginTime", "")
    report = NodeReport(node="n1", state=State.FAILED, exit_code=1, errors=({"type": "RuntimeError"},))
    put_right = judge(report, job, first=True)
    assert (put_right.state, put_right.exit_code, put_right.errors) == (State.PENDING, None, ())
    assert put_right.trouble == "waits in Slurm's queue: BeginTime"
    assert judge(report, job, first=False).trouble == ""


def test_other_sources_where_the_controller_has_forgotten() -> None:
    assert read_sacct("COMPLETED|0:0|n1\nCANCELLED by 0|0:15|n[1-2]\n") == SlurmJob(
        state="CANCELLED", exit_code=143, nodes="n[1-2]"
    )
    assert read_sacct("Slurm accounting storage is disabled") is None
    line = "JobId=7 UserId=root(0) Name=r JobState=TIMEOUT Partition=lab NodeList=node[1-2] ExitCode=0:0 "
    assert read_jobcomp("JobId=7 JobState=REQUEUED\n" + line) == SlurmJob(
        state="TIMEOUT", exit_code=0, nodes="node[1-2]"
    )
    assert read_jobcomp("") is None


def test_the_node_whose_supervisor_could_not_write_down_its_end_is_lost() -> None:
    job = SlurmJob(state="NODE_FAIL", exit_code=1)
    silent = judge(NodeReport(node="n2", state=State.RUNNING), job, first=False)
    ended = judge(NodeReport(node="n1", state=State.CANCELLED, exit_code=143), job, first=True)
    assert (silent.state, ended.state, ended.exit_code) == (State.LOST, State.FAILED, 143)
    assert ended.trouble == "Slurm says NODE_FAIL: a node failed"
    forgotten = judge(NodeReport(node="n1", state=State.SUCCEEDED, exit_code=0), None, first=True)
    assert forgotten.state is State.SUCCEEDED


class Login:
    """A login machine that counts how often its Slurm is asked."""

    node = Node(name="login")

    def __init__(self, told: CommandResult) -> None:
        self.told = told
        self.asked = 0
        self.go = threading.Event()

    def run(self, _command: str, **_more: Any) -> CommandResult:
        self.asked += 1
        self.go.wait(60)
        return self.told


def test_many_nodes_ask_slurm_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_asking, "SHARED", 3600.0)
    shown = SHOWN.format(state="RUNNING", reason="None", restarts=0, code="0:0", nodes="node[1-64]")
    for told, error in (
        (CommandResult(0, shown, ""), None),
        (CommandResult(1, "", "Unable to contact slurm controller"), "Unable to contact slurm controller"),
    ):
        login, asking = Login(told), slurm_asking.Asking()

        def ask(_node: int, login: Any = login, asking: slurm_asking.Asking = asking) -> str:
            found = asking.look("r-1", 7, login)
            return found.state if found else ""

        threading.Timer(0.2, login.go.set).start()
        outcomes = fan_out(range(64), ask)
        assert login.asked == 1
        assert {outcome.value for outcome in outcomes} == {None if error else "RUNNING"}
        assert all(error is None or error in str(outcome.error) for outcome in outcomes)
        asking.forget("r-2")
        fan_out([0], ask)
        assert login.asked == 1
        asking.forget("r-1")
        fan_out([0], ask)
        assert login.asked == 2
    monkeypatch.setattr(slurm_asking, "SHARED", -1.0)
    fan_out([0], ask)
    assert login.asked == 3


@pytest.mark.lab
def test_everything_through_a_login_machine(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/nowhere")  # this machine has no Slurm
    run = submit(site, "slurm", 'echo "RANK=$1"; exec sleep 300', tmp_path, **asked("cpu", 1, login="root@node2"))
    assert values(run, "RANK") == ["0", "1"]
    told = {outcome.item: outcome.value for outcome in run.backend.status(run.job, run.transports)}
    assert [each.state if each else None for each in told.values()] == [State.RUNNING] * 2
    run.transports["node1"].close()
    assert run.transports["node2"].run("hostname").stdout == "node2\n", "one connection for all, until the last is gone"
    ended = run.backend.cancel(run.job, {"node2": run.transports["node2"]}, GRACE)
    assert [(outcome.item, outcome.error) for outcome in ended] == [("node2", None)]
    assert site.pids(run.job.run_id) == []
    run.transports["node2"].close()
    with pytest.raises(LlmctlError):
        run.transports["node2"].run("true")


@pytest.mark.lab
def test_busy_nodes_are_not_waited_for_to_be_checked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_gate, "AT_ONCE", 1)
    holder = submit(site, "slurm", "exec sleep 300", tmp_path, **asked("npu", 4))
    told: list[str] = []
    try:
        holder.until("it runs", lambda found: {each.state for each in found.values()} == {State.RUNNING})
        planned = draft(write_recipe(site, "slurm", tmp_path, **asked("npu", 4)), runs=tmp_path / "runs")
        with slurm_gate.allocated(planned, holder.transports, told.append) as steps:
            assert steps == {}
    finally:
        finish(holder)
    assert "the nodes are not free now, so they were not checked: " in told[0]
    with slurm_gate.allocated(planned, holder.transports, told.append) as steps:
        assert [steps[name].run("hostname; exit 3").stdout for name in steps] == ["node1\n", "node2\n"]
        assert steps["node2"].run("cat; exit 3", stdin=b"x").code == 3
    assert len(told) == 1


def values(run: Run, name: str) -> list[str]:
    """What each node's part said of a variable, in the order of the ranks."""
    run.until(f"all tell {name}", lambda _: run.output.count(f"{name}=") == len(run.job.nodes))
    lines = [line for line in run.output.splitlines() if line.startswith(f"{name}=")]
    return sorted(line.partition("=")[2] for line in lines)


def asked(device: str, slots: int, **slurm: Any) -> dict[str, Any]:
    return {
        "cluster": {"device": device, "devices_per_node": slots},
        "launch": {"slurm": slurm},
        "train": {"precision": "bf16"},
    }


def finish(*runs: Run) -> None:
    for run in runs:
        run.backend.cancel(run.job, run.transports, GRACE)


@pytest.mark.lab
def test_two_runs_on_a_node_see_devices_of_their_own(site: Site, tmp_path: Path) -> None:
    for device, slots, variable, wanted in (
        ("npu", 2, "ASCEND_RT_VISIBLE_DEVICES", ["0,1", "2,3"]),
        ("cuda", 1, "CUDA_VISIBLE_DEVICES", ["0", "1"]),
    ):
        part = f'. ./env.sh; echo "{variable}=${variable}"; exec sleep 300'
        runs = [submit(site, "slurm", part, tmp_path, **asked(device, slots)) for _ in range(2)]
        try:
            assert [values(run, variable) for run in runs] == [[each] * 2 for each in wanted]
        finally:
            finish(*runs)


@pytest.mark.lab
def test_what_slurm_does_not_have_is_refused_with_its_own_words(site: Site, tmp_path: Path) -> None:
    with pytest.raises(LlmctlError) as refused:
        submit(site, "slurm", "true", tmp_path, **asked("npu", 8))
    assert "Requested node configuration is not available" in str(refused.value)


@pytest.mark.lab
def test_nodes_of_slurms_choice_and_a_job_that_its_administrator_ends(site: Site, tmp_path: Path) -> None:
    sections = asked("cpu", 1, nodes=2)
    sections["cluster"] |= {"nodes": []}
    run = submit(site, "slurm", 'echo "RANK=$1 $LLMCTL_NODE"; exec sleep 300', tmp_path, **sections)
    assert run.job.nodes == ("task0", "task1")
    assert values(run, "RANK") == ["0 task0", "1 task1"]
    number = (Path(run.job.run_dir) / "slurm.job").read_text().strip()
    subprocess.run(["scancel", number], check=True)
    ended = run.until("an end", lambda found: all(each.state in ENDED for each in found.values()))
    assert {each.state for each in ended.values()} == {State.CANCELLED}
    assert site.pids(run.job.run_id) == []


@pytest.mark.lab
def test_a_job_in_the_queue_is_pending_and_can_be_cancelled(site: Site, tmp_path: Path) -> None:
    holder = submit(site, "slurm", "exec sleep 300", tmp_path, **asked("npu", 4))
    try:
        holder.until("it runs", lambda found: {each.state for each in found.values()} == {State.RUNNING})
        run = submit(site, "slurm", "exec sleep 300", tmp_path, **asked("npu", 4))
        found = run.until("a reason", lambda found: "Resources" in found["node1"].trouble)
        assert {each.state for each in found.values()} == {State.PENDING}
        assert [each.error for each in run.backend.cancel(run.job, run.transports, GRACE)] == [None, None]
        assert {each.state for each in run.look().values()} == {State.CANCELLED}
    finally:
        finish(holder)


@pytest.mark.lab
def test_a_job_that_slurm_took_without_telling_its_number_is_cancelled(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(site, "slurm", "exec sleep 300", tmp_path, **asked("cpu", 1))
    finish(run)
    sbatch = shutil.which("sbatch")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def replace(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)

    replace("sbatch", f'{sbatch} "$@" >/dev/null && kill -KILL $$')
    assert all(each.error for each in run.backend.submit(run.job, run.transports))
    queued = ("squeue", "-h", f"--name={run.job.run_id}")
    assert site.slurm.ask(*queued)
    assert [each.error for each in run.backend.cancel(run.job, run.transports, GRACE)] == [None, None]
    assert site.slurm.ask(*queued) == ""
    assert site.pids(run.job.run_id) == []
    replace("squeue", "echo no controller >&2; exit 1")
    told = run.backend.cancel(run.job, run.transports, GRACE)
    assert all("whether it took the job" in str(each.error) for each in told)
