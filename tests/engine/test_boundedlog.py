"""A rank's log: rotated without losing a line, and no reason to die."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from llmctl_engine.boundedlog import segments

HEAD = (
    "from llmctl_engine import boundedlog, ranklog\nimport os, sys\nboundedlog.SEGMENT = 1 << 16\nranklog.redirect()\n"
)


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LLMCTL_LOG_DIR": str(folder), "RANK": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", HEAD + program]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)


def whole(folder: Path) -> str:
    path = folder / "rank3.log"
    return "".join(each.read_text() for *_, each in segments(path)) + path.read_text()


def test_no_line_is_lost_when_the_log_is_rotated(tmp_path: Path) -> None:
    done = run(
        "for number in range(20000):\n"
        "    print(number)\n"
        "    if number % 1000 == 0: os.write(2, b'from C\\n')\n"
        "print('last words', file=sys.stderr)\n",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = whole(tmp_path).splitlines()
    assert [line for line in lines if line.isdigit()] == [str(number) for number in range(20000)]
    assert lines.count("from C") == 20
    assert lines[-1] == "last words"
    pieces = segments(tmp_path / "rank3.log")
    assert pieces[0][0] == 0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(pieces))
    assert all(path.stat().st_size == end - begin for begin, end, path in pieces)


def test_only_the_newest_files_are_kept(tmp_path: Path) -> None:
    run("for number in range(100000): print(number)", tmp_path)
    assert len(list(tmp_path.glob("rank3.log*"))) == 4
    assert whole(tmp_path).endswith("99998\n99999\n")


def test_a_second_start_goes_on_behind_the_first(tmp_path: Path) -> None:
    run("for number in range(20000): print(number)", tmp_path)
    run("for number in range(20000, 25000): print(number)", tmp_path)
    assert whole(tmp_path).split() == [str(number) for number in range(25000)]


def test_a_forked_worker_rotates_nothing(tmp_path: Path) -> None:
    done = run(
        "if os.fork() == 0:\n"
        "    for number in range(20000): print('child', number)\n"
        "    sys.stdout.flush(); os._exit(0)\n"
        "os.wait()\n"
        "assert 'rank3.log' in os.listdir(os.environ['LLMCTL_LOG_DIR'])\n"
        "print('parent')\n",
        tmp_path,
    )
    assert done.returncode == 0
    assert segments(tmp_path / "rank3.log")[1:] == []
    assert whole(tmp_path).count("child") == 20000
    assert whole(tmp_path).endswith("parent\n")


def test_a_full_disk_costs_lines_and_not_the_rank(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tiny", str(tmp_path)], check=True)
    try:
        done = run(
            "place = os.open(os.environ['LLMCTL_LOG_DIR'] + '/ballast', os.O_WRONLY | os.O_CREAT)\n"
            "try:\n"
            "    while os.write(place, bytes(4096)): pass\n"
            "except OSError: pass\n"
            "for _ in range(1000): print('x' * 99)\n"
            "os.ftruncate(place, 0)\n"
            "print('after')\n",
            tmp_path,
        )
        assert done.returncode == 0
        assert "bytes could not be written: the disk was full]\nafter\n" in whole(tmp_path)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
