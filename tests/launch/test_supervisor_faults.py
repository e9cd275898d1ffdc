"""What the supervisor does when processes die, hide or outlive each other, and when the disk is full."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmctl.launch import supervised
from llmctl.launch.supervised import Job
from llmctl.run.states import State
from tests.launch import supervising
from tests.launch.supervising import HERE, ended, lives, start, state_of, until, wait_for

MakeJob = Callable[..., Job]

HIDE = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.execve('/bin/sh', ['sh', '-c', 'echo $$ > hidden.new; mv hidden.new hidden; exec sleep 300'], {})\n"
    "    os._exit(0)\n"
    "os.wait()\n"
)
"""A child that has left its parents, its session and its environment."""


def hiding(then: str) -> str:
    return f'{sys.executable} -c "{HIDE}"\n{then}'


def pid_in(job: Job, name: str) -> int:
    return int(wait_for(f"no {name}", lambda: _text(Path(job.run_dir) / name)))


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    os.kill(pid, signum)


def test_ranks_of_a_killed_supervisor_end_with_nobody_watching(make_job: MakeJob) -> None:
    job = make_job(hiding("(trap 'touch saved; exit 0' TERM; echo $$ > rank; while :; do sleep 0.1; done) & wait"))
    start(job)
    rank, hidden = pid_in(job, "rank"), pid_in(job, "hidden")
    kill(state_of(job)["supervisor"]["pid"])
    wait_for("the ranks go on", lambda: not lives(rank) and not lives(hidden))
    wait_for("nothing was saved", (Path(job.run_dir) / "saved").exists)
    wait_for("no state", lambda: state_of(job)["state"] == "LOST")
    report = supervised.poll(job, HERE, {})
    assert report.state is State.LOST
    assert "the supervisor was killed" in report.texts["logs/here/launcher.log"]


def test_a_new_start_waits_for_the_guardian_of_the_last_one(make_job: MakeJob) -> None:
    job = make_job(
        "[ -e again ] && { echo anew; exec sleep 300; }\n"
        "touch again; trap 'sleep 1; exit 0' TERM; echo $$ > rank; while :; do sleep 0.1; done"
    )
    start(job)
    pid_in(job, "rank")
    old = state_of(job)
    kill(old["supervisor"]["pid"])
    wait_for("the supervisor goes on", lambda: not lives(old["supervisor"]["pid"]))
    start(job)
    assert not lives(old["guardian"]["pid"])
    report = until(job, lambda report: "anew" in report.texts.get("logs/here/launcher.log", ""))
    assert report.state is State.RUNNING
    assert state_of(job)["supervisor"] != old["supervisor"]
    supervised.cancel(job, {"here": HERE}, 2)
    assert until(job, ended).state is State.CANCELLED


def test_the_launcher_is_asked_to_end_when_supervisor_and_guardian_are_killed(make_job: MakeJob) -> None:
    job = make_job("exec sleep 300")
    start(job)
    state = state_of(job)
    kill(state["guardian"]["pid"], signal.SIGSTOP)
    kill(state["supervisor"]["pid"])
    kill(state["guardian"]["pid"])
    wait_for("the launcher goes on", lambda: not lives(state["child"]["pid"]))
    assert supervised.poll(job, HERE, {}).state is State.LOST


def test_a_worker_whose_agent_was_killed_is_ended(make_job: MakeJob) -> None:
    job = make_job("echo $$ > agent; setsid sh -c 'echo $$ > worker; exec sleep 300'; true")
    start(job)
    worker = pid_in(job, "worker")
    kill(pid_in(job, "agent"))
    report = until(job, ended)
    assert (report.state, report.exit_code) == (State.FAILED, 137)
    assert not lives(worker)


@pytest.mark.parametrize("end", ["itself", "cancel", "cancel after the supervisor"])
def test_what_hides_is_ended_with_the_run(make_job: MakeJob, end: str) -> None:
    job = make_job(hiding("while [ ! -e go ]; do sleep 0.1; done"))
    start(job)
    hidden = pid_in(job, "hidden")
    if end == "itself":
        (Path(job.run_dir) / "go").touch()
        until(job, ended)
    else:
        if end != "cancel":
            seen = Path(job.run_dir) / "state" / "here.seen.json"
            wait_for("not seen", lambda: seen.exists() and str(hidden) in json.loads(seen.read_text())["processes"])
            state = state_of(job)
            kill(state["guardian"]["pid"])
            kill(state["supervisor"]["pid"])
        (outcome,) = supervised.cancel(job, {"here": HERE}, 5)
        assert outcome.error is None
    assert not lives(hidden)


def test_no_pid_is_trusted_without_its_start_time_and_boot(make_job: MakeJob) -> None:
    job = make_job("exec sleep 300")
    start(job)
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        born = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        seen = Path(job.run_dir) / "state" / "here.seen.json"
        supervisor = state_of(job)["supervisor"]["pid"]
        kill(supervisor, signal.SIGSTOP)
        for known in (
            {"boot_id": boot, "processes": {str(stranger.pid): born - 1}},
            {"boot_id": "another", "processes": {str(stranger.pid): born}},
        ):
            seen.write_text(json.dumps(known))
            kill(supervisor, signal.SIGCONT) if known["boot_id"] == "another" else None
            supervised.cancel(job, {"here": HERE}, 0.5)
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    state = state_of(job)
    path = Path(job.run_dir) / "state" / "here.json"
    path.write_text(json.dumps(state | {"state": "RUNNING", "supervisor": {"pid": os.getpid(), "born": 1}}))
    assert supervised.poll(job, HERE, {}).state is State.LOST
    own = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    alive = {"state": "RUNNING", "supervisor": {"pid": os.getpid(), "born": own}}
    path.write_text(json.dumps(state | alive))
    assert supervised.poll(job, HERE, {}).state is State.RUNNING
    path.write_text(json.dumps(state | alive | {"boot_id": "another"}))
    assert supervised.poll(job, HERE, {}).state is State.LOST


def small_segments(job: Job) -> None:
    """Let logs begin a new file every 64 KiB."""
    path = Path(job.run_dir) / "supervisor.py"
    text = path.read_text()
    assert "SEGMENT = 32 << 20" in text
    path.write_text(text.replace("SEGMENT = 32 << 20", "SEGMENT = 1 << 16"))


def read_on(job: Job, offsets: dict[str, int]) -> str:
    """Everything behind the offsets, which move on."""
    text = ""
    while True:
        report = supervised.poll(job, HERE, offsets)
        offsets.update(report.offsets)
        if "logs/here/launcher.log" not in report.texts:
            return text
        text += report.texts["logs/here/launcher.log"]


def test_a_reader_loses_nothing_when_a_log_is_rotated(make_job: MakeJob) -> None:
    job = make_job("seq 1 20000; touch half; while [ ! -e go ]; do sleep 0.05; done; seq 20001 40000")
    small_segments(job)
    start(job)
    wait_for("half", (Path(job.run_dir) / "half").exists)
    wait_for("no rotation", lambda: list((Path(job.run_dir) / "logs/here").glob("launcher.log.*-*")))
    offsets: dict[str, int] = {}
    text = read_on(job, offsets)
    (Path(job.run_dir) / "go").touch()
    until(job, ended)
    text += read_on(job, offsets)
    assert text == "".join(f"{number}\n" for number in range(1, 40001))
    assert max(path.stat().st_size for path in (Path(job.run_dir) / "logs/here").iterdir()) < 2 << 16


def test_what_was_rotated_away_unread_is_told(make_job: MakeJob) -> None:
    job = make_job("seq 1 100000; echo end")
    small_segments(job)
    start(job)
    until(job, ended)
    assert len(list((Path(job.run_dir) / "logs/here").glob("launcher.log.*-*"))) == 3
    text = read_on(job, {})
    first, _, rest = text.partition("\n")
    lost = int(first.removeprefix("[llmctl: ").partition(" ")[0])
    assert "rotated away before they were read" in first
    assert lost + len(rest) == sum(len(str(number)) + 1 for number in range(1, 100001)) + 4
    assert text.endswith("100000\nend\n")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tiny", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all there is."""
    ballast = disk / "ballast"
    place = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(place, bytes(4096)) == 4096:
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - the end that is wanted
    finally:
        os.close(place)
    return ballast


def test_a_full_disk_ends_no_run_and_is_told(make_job: MakeJob, tiny_disk: Path) -> None:
    job = supervising.make_job(
        tiny_disk / "run", "echo before; while [ ! -e go ]; do echo $$ > /dev/null; sleep 0.1; done; seq 1 1000; exit 7"
    )
    start(job)
    until(job, lambda report: "before" in report.texts.get("logs/here/launcher.log", ""))
    fill(tiny_disk)
    (tiny_disk / "run" / "go").touch()
    report = until(job, ended)
    assert (report.state, report.exit_code) == (State.FAILED, 7)
    assert state_of(job)["ended"]


def test_output_that_the_disk_did_not_take_is_counted(make_job: MakeJob, tiny_disk: Path) -> None:
    orders = make_job("").run_dir
    job = supervising.make_job(
        tiny_disk / "run",
        f"while [ ! -e {orders}/one ]; do sleep 0.05; done; seq 100000 100999; "
        f"while [ ! -e {orders}/two ]; do sleep 0.05; done; echo after",
    )
    start(job)
    wait_for("no heartbeat", (tiny_disk / "run/state/here.beat.json").exists)
    ballast = fill(tiny_disk)
    (Path(orders) / "one").touch()
    told = "of its launcher's output could not be written: No space left on device"
    wait_for("not told", lambda: told in supervised.poll(job, HERE, {}).trouble)
    assert supervised.poll(job, HERE, {}).state is State.RUNNING
    ballast.unlink()
    (Path(orders) / "two").touch()
    report = until(job, ended)
    assert report.state is State.SUCCEEDED
    assert "bytes could not be written: No space left on device]\nafter\n" in report.texts["logs/here/launcher.log"]


def test_a_full_disk_is_told_while_the_run_goes_on(make_job: MakeJob, tiny_disk: Path) -> None:
    job = supervising.make_job(tiny_disk / "run", "sleep 300")
    start(job)
    assert supervised.poll(job, HERE, {}).trouble == ""
    fill(tiny_disk)
    assert supervised.poll(job, HERE, {}).trouble == f"the disk of {job.run_dir} is full"
    supervised.cancel(job, {"here": HERE}, 2)
    assert until(job, ended).state is State.CANCELLED


def test_memory_of_the_runs_processes_is_told(make_job: MakeJob) -> None:
    job = make_job(f'exec {sys.executable} -S -c "held = bytearray(120 << 20); import time; time.sleep(300)"')
    start(job)
    report = until(job, lambda report: (report.memory_mb or 0) >= 120)
    assert (report.memory_mb or 0) < 200
    supervised.cancel(job, {"here": HERE}, 2)


def test_devices_are_told_from_the_vendors_tool(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho asked >> $0.calls\necho '0, 97, 70123, 81559'\necho '1, [N/A], 3, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    job = replace(make_job("sleep 300"), device="cuda")
    start(job)
    for _ in range(3):
        report = supervised.poll(job, HERE, {})
    assert report.devices == (
        {"number": 0, "use_percent": 97, "memory_mb": 70123, "total_mb": 81559},
        {"number": 1, "use_percent": None, "memory_mb": 3, "total_mb": 81559},
    )
    assert Path(f"{tool}.calls").read_text() == "asked\n"
    assert supervised.poll(replace(job, device="cpu"), HERE, {}).devices == ()
    supervised.cancel(job, {"here": HERE}, 2)


def test_npus_are_told_from_the_vendors_tool(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Path(__file__).parents[1] / "checks" / "fixtures" / "npu-smi_two.txt"
    tool = tmp_path / "bin" / "npu-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat '{sample}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    job = replace(make_job("sleep 300"), device="npu")
    start(job)
    first, *_ = told = supervised.poll(job, HERE, {}).devices
    assert len(told) == 2
    assert first["number"] == 0
    assert 0 <= first["memory_mb"] <= first["total_mb"]
    supervised.cancel(job, {"here": HERE}, 2)
