"""Leases on this machine: real files, processes that race, and what other users may put there."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmctl.resources import onnode_file

PROGRAM = onnode_file("lease.py").read_text(encoding="utf-8")
NOBODY = 65534


def begin(verb: str, folder: Path, **words: Any) -> subprocess.Popen[str]:
    env = words.pop("env", {})
    request = base64.b64encode(json.dumps({"verb": verb, "folder": str(folder), **words}).encode()).decode()
    process = subprocess.Popen(
        [sys.executable, "-S", "-I", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    assert process.stdin is not None
    process.stdin.write(f'{PROGRAM}\nmain("{request}")\n')
    process.stdin.close()
    process.stdin = None
    return process


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert "LLMCTL-JSON " in out, err
    told: dict[str, Any] = json.loads(out.rpartition("LLMCTL-JSON ")[2])
    return told


def call(verb: str, folder: Path, **words: Any) -> dict[str, Any]:
    return end(begin(verb, folder, **words))


def take(folder: Path, run_id: str, devices: list[int], kind: str = "npu") -> dict[str, Any]:
    return call("take", folder, run_id=run_id, kind=kind, devices=devices, user="alice", ask=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def test_a_device_has_one_run(folder: Path) -> None:
    assert take(folder, "one", [0, 1]) == {"taken": ["npu-0", "npu-1"]}
    (busy,) = take(folder, "two", [1, 2])["busy"]
    assert (busy["device"], busy["run_id"], busy["alive"]) == ("npu-1", "one", True)
    assert abs(busy["since"] - time.time()) < 60
    assert take(folder, "two", [2]) == {"taken": ["npu-2"]}
    assert take(folder, "cpu run", [0], kind="cpu") == {"taken": ["cpu-0"]}
    assert call("release", folder, run_id="one") == {"released": 2}
    assert take(folder, "two", [1]) == {"taken": ["npu-1"]}


def test_a_refused_take_leaves_nothing(folder: Path) -> None:
    take(folder, "one", [3])
    assert "busy" in take(folder, "two", [0, 1, 2, 3])
    assert {who["run_id"] for who in call("list", folder, kind=None)["leases"]} == {"one"}


def test_of_many_at_once_exactly_one_gets_them(folder: Path) -> None:
    words = {"kind": "npu", "devices": [0, 1, 2, 3], "user": "alice", "ask": False}
    racing = [begin("take", folder, run_id=f"run{number}", **words) for number in range(6)]
    won = [number for number, process in enumerate(racing) if "taken" in end(process)]
    assert len(won) == 1
    assert {who["run_id"] for who in call("list", folder, kind="npu")["leases"]} == {f"run{won[0]}"}


def test_a_lease_ends_with_its_supervisor(folder: Path, tmp_path: Path) -> None:
    supervisor = subprocess.Popen(["sleep", "60"])
    try:
        born = int(Path(f"/proc/{supervisor.pid}/stat").read_text().rpartition(")")[2].split()[19])
        (tmp_path / "state").mkdir()
        state = {"supervisor": {"pid": supervisor.pid, "born": born}}
        (tmp_path / "state" / "here.json").write_text(json.dumps(state))
        take(folder, "one", [0])
        assert call("adopt", folder, run_id="one", run_dir=str(tmp_path), node="here") == {"adopted": 1}
        (lease,) = folder.iterdir()
        os.utime(lease, (0, 0))
        (busy,) = take(folder, "two", [0])["busy"]
        assert busy["pid"] == supervisor.pid
    finally:
        supervisor.kill()
        supervisor.wait()
    assert take(folder, "two", [0]) == {"taken": ["npu-0"]}


def test_what_is_not_renewed_is_over(folder: Path) -> None:
    take(folder, "one", [0])
    (lease,) = folder.iterdir()
    os.utime(lease, (time.time() - 170, time.time() - 170))
    assert "busy" in take(folder, "two", [0])
    assert call("renew", folder, run_id="one") == {"renewed": 1}
    assert time.time() - lease.stat().st_mtime < 60
    os.utime(lease, (time.time() - 200, time.time() - 200))
    assert take(folder, "two", [0]) == {"taken": ["npu-0"]}


def test_processes_of_a_run_hold_its_devices(folder: Path) -> None:
    take(folder, "held", [0])
    (lease,) = folder.iterdir()
    os.utime(lease, (0, 0))
    rank = subprocess.Popen(["sleep", "60"], env={**os.environ, "LLMCTL_RUN_ID": "held"})
    try:
        assert "busy" in take(folder, "two", [0])
    finally:
        rank.kill()
        rank.wait()


def test_a_reboot_ends_all_leases(folder: Path) -> None:
    take(folder, "one", [0])
    (lease,) = folder.iterdir()
    lease.write_text(json.dumps(json.loads(lease.read_text()) | {"boot_id": "another"}))
    assert take(folder, "two", [0]) == {"taken": ["npu-0"]}


def test_the_folder_is_made_for_all_users(folder: Path) -> None:
    take(folder, "one", [0])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777


def test_a_folder_that_others_cannot_use_is_told(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    assert "mode 700, not 1777" in take(folder, "one", [0])["error"]


def test_a_link_in_place_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o777)
    (tmp_path / "elsewhere").chmod(0o1777)
    folder.symlink_to(tmp_path / "elsewhere")
    assert "error" in take(folder, "one", [0])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_others_put_there_is_no_path_and_no_lease(folder: Path, tmp_path: Path) -> None:
    take(folder, "one", [7])
    victim = tmp_path / "victim"
    victim.write_text("mine")
    mine = os.geteuid()
    (folder / f"npu-0.{mine}").symlink_to(victim)
    (folder / "npu-1.99999999").write_text("{}")
    os.mkfifo(folder / f"npu-2.{mine}")
    (folder / f"npu-3.{mine}").write_bytes(b"\xff[[[")
    (folder / "README").write_text("?")
    assert take(folder, "two", [0, 1, 2, 3])["taken"]
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    "text", ['{"pid": Infinity}', '{"pid": NaN}', "[" * 4000, '{"pid": 4194303}', '{"since": 1e18}']
)
def test_numbers_that_are_none_hold_nothing_and_break_nothing(folder: Path, text: str) -> None:
    assert take(folder, "one", [0]) == {"taken": ["npu-0"]}
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    place = folder / f"npu-1.{os.geteuid()}"
    place.write_text(text.replace("}", f', "boot_id": "{boot}"}}'))
    os.utime(place, (0, 0))
    (told,) = (who for who in call("list", folder, kind=None)["leases"] if who["device"] == "npu-1")
    assert (told["alive"], told["since"]) == (False, 0)
    assert take(folder, "two", [1]) == {"taken": ["npu-1"]}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to write as another user")
def test_another_users_lease_is_respected_and_shown_harmlessly(folder: Path) -> None:
    take(folder, "one", [7])
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    theirs = folder / f"npu-0.{NOBODY}"
    theirs.write_text(
        json.dumps({"run_id": "evil\x1b[2Jrun" + "x" * 500, "since": "soon", "pid": 1.5, "boot_id": boot})
    )
    os.chown(theirs, NOBODY, NOBODY)
    (busy,) = take(folder, "two", [0])["busy"]
    assert busy["run_id"].startswith("evil?[2Jrun")
    assert len(busy["run_id"]) == 80
    assert (busy["user"], busy["since"]) == ("nobody", 0)
    os.utime(theirs, (0, 0))
    assert take(folder, "two", [0]) == {"taken": ["npu-0"]}
    assert theirs.exists()


def test_processes_on_devices_are_told_with_their_user(folder: Path, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\ncase \"$1\" in\n--query-gpu*) printf 'GPU-a, 0\\nGPU-b, 1\\n' ;;\n"
        f"--query-compute-apps*) printf 'GPU-b, {os.getpid()}\\n' ;;\nesac\n"
    )
    tool.chmod(0o755)
    words = {"kind": "cuda", "user": "alice", "ask": True, "env": {"PATH": f"{tmp_path}:{os.environ['PATH']}"}}
    (busy,) = call("take", folder, run_id="one", devices=[0, 1], **words)["busy"]
    assert (busy["device"], busy["pid"], busy["run_id"]) == ("cuda-1", os.getpid(), "")
    assert 0 < busy["since"] <= time.time()
    assert call("take", folder, run_id="one", devices=[0], **words) == {"taken": ["cuda-0"]}


def test_processes_on_npus_are_told(folder: Path, tmp_path: Path) -> None:
    sample = Path(__file__).parents[1] / "checks" / "fixtures" / "npu-smi_busy_and_ill.txt"
    tool = tmp_path / "npu-smi"
    tool.write_text(f"#!/bin/sh\ncat '{sample}'\n")
    tool.chmod(0o755)
    words = {"kind": "npu", "user": "alice", "ask": True, "env": {"PATH": f"{tmp_path}:{os.environ['PATH']}"}}
    from llmctl.checks.parsers.ascend import npu_smi

    busy = {number for number, chip in enumerate(npu_smi(sample.read_text(encoding="utf-8"))) if chip["busy"]}
    told = call("take", folder, run_id="one", devices=list(range(16)), **words)["busy"]
    assert busy
    assert {int(who["device"].partition("-")[2]) for who in told} == busy
