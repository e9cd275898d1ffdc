"""The program that makes environments, run here as a node runs it; a small conda of our own makes them at once."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from llmctl.onnode.environment import MARK, packages
from llmctl.resources import onnode_file

CONDA = """#!/bin/sh
# conda create --yes --quiet --prefix PREFIX --file FILE
prefix=$5; mkdir -p "$prefix/bin" "$prefix/conda-meta"; ln -s PYTHON "$prefix/bin/python"
if grep -q slow "$7"; then echo "begun $$ ."; exec sleep 600; fi
if grep -q broken "$7"; then echo "CondaError: it's broken"; exit 1; fi
printf '{"name": "zlib", "version": "%s", "md5": "m"}' "$(cat "$7")" > "$prefix/conda-meta/zlib.json"
"""
ARGV = [sys.executable, str(onnode_file("environment.py")), "llmctl"]


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    program = tmp_path / "con da" / "conda"
    program.parent.mkdir()
    program.write_text(CONDA.replace("PYTHON", shlex.quote(sys.executable)))
    program.chmod(0o755)
    return program


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "envs of 'me'" / "llm"


def answers(out: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for line in out.decode().splitlines():
        if line.startswith(MARK):
            told |= json.loads(line[len(MARK) :])
    return told


def ask(verb: str, place: Path, **more: Any) -> dict[str, Any]:
    request = json.dumps({"verb": verb, "path": str(place), **more}).encode() + b"\n"
    done = subprocess.run(ARGV, input=request, capture_output=True, check=False, timeout=60)
    told = answers(done.stdout)
    assert told, done.stderr.decode()
    return told


def request(conda: Path, text: str) -> dict[str, Any]:
    return {
        "inputs": text * 20, "kind": "conda", "files": {"list.txt": text}, "first": "list.txt", "wheels": None,
        "conda": True, "python": str(conda), "version": "",
    }  # fmt: skip


def make(conda: Path, place: Path, text: str) -> dict[str, Any]:
    return ask("make", place, **request(conda, text))


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir() if path != place)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_it_is_made_once_and_looks_as_it_was_recorded(conda: Path, place: Path) -> None:
    missing = ask("look", place)["answer"]
    assert (missing["record"], missing["packages"], missing["missing"]) == (None, {}, [str(place.parent)])
    made = make(conda, place, "1.3")["answer"]
    assert (made["fresh"], made["packages"]) == (True, {"conda:zlib": ["1.3=", "m"]})
    assert make(conda, place, "1.3")["answer"]["fresh"] is False
    now = ask("look", place)["answer"]
    assert now["record"]["packages"] == now["packages"] == made["packages"]
    assert now["python"] == made["python"] != ""
    assert len(folders(place)) == 1


def test_a_new_one_takes_the_place_of_the_old_one_at_once(conda: Path, place: Path) -> None:
    make(conda, place, "1.3")
    old = place.readlink()
    assert make(conda, place, "1.4")["answer"]["packages"] == {"conda:zlib": ["1.4=", "m"]}
    assert place.readlink() != old
    assert folders(place) == [str(place.readlink())]


def test_one_that_fails_leaves_the_old_one(conda: Path, place: Path) -> None:
    make(conda, place, "1.3")
    before = folders(place)
    refused = make(conda, place, "broken")["refused"]
    assert (refused["what"], refused["why"]) == ("conda cannot make the environment", "CondaError: it's broken")
    assert folders(place) == before
    assert ask("look", place)["answer"]["python"]


def test_one_that_was_broken_off_is_no_environment_and_goes_the_next_time(conda: Path, place: Path) -> None:
    words = json.dumps({"verb": "make", "path": str(place), **request(conda, "slow")}).encode() + b"\n"
    with subprocess.Popen(ARGV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(words)
        process.stdin.flush()
        line = b""
        while b"begun" not in line:
            assert process.poll() is None
            line = process.stdout.readline()
        process.stdout.close()  # as when the launcher is gone
        assert process.wait(10) == 1
    assert not lives(int(line.split(b"begun ")[1].split()[0]))
    assert ask("look", place)["answer"]["record"] is None
    assert make(conda, place, "1.3")["answer"]["fresh"]
    assert folders(place) == [str(place.readlink())]


def test_an_old_one_that_is_in_use_stays_until_the_next_time(conda: Path, place: Path) -> None:
    make(conda, place, "1.3")
    old = place.parent / place.readlink()
    loaded = old / "module.so"
    loaded.write_bytes(b"\0" * 4096)
    code = f"import mmap; f = open({str(loaded)!r}, 'r+b'); m = mmap.mmap(f.fileno(), 0); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        user.stdout.readline()
        make(conda, place, "1.4")
        assert old.exists()
        user.send_signal(signal.SIGKILL)
    make(conda, place, "1.5")
    assert not old.exists()
    assert len(folders(place)) == 1


def test_what_is_not_ours_is_left_alone(conda: Path, place: Path) -> None:
    place.mkdir(parents=True)
    (place / "mine").write_text("x")
    assert make(conda, place, "1.3")["refused"]["what"] == "something else lies there"
    assert ask("look", place)["refused"]["what"] == "something else lies there"
    ask("drop", place, folders=[str(place.parent)])
    assert (place / "mine").read_text() == "x"


def test_all_goes_with_the_folders_that_were_made_for_it(conda: Path, place: Path, tmp_path: Path) -> None:
    missing = ask("look", place / "deep" / "env")["answer"]["missing"]
    assert missing == [str(place / "deep"), str(place), str(place.parent)]
    make(conda, place / "deep" / "env", "1.3")
    assert ask("drop", place / "deep" / "env", folders=missing)["answer"]["dropped"]
    assert not place.parent.exists()
    assert ask("drop", place / "deep" / "env", folders=missing)["answer"]["dropped"] is False


def test_the_digest_follows_files_and_leaves_out_programs_and_caches(tmp_path: Path) -> None:
    info = tmp_path / "lib" / "python3.11" / "site-packages" / "My_Pack.age-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text('../../../bin/run,sha256=x,1\nb.py,sha256=b,1\n"a,c.py",sha256=a,1\nb.pyc,,\n')
    (first,) = packages(str(tmp_path)).items()
    assert first[0] == "my-pack-age"
    (info / "RECORD").write_text('../../../bin/run,sha256=other,1\n"a,c.py",sha256=a,1\nb.py,sha256=b,1\n')
    assert packages(str(tmp_path)) == dict([first])
    (info / "RECORD").write_text('"a,c.py",sha256=a,1\nb.py,sha256=changed,1\n')
    assert packages(str(tmp_path))["my-pack-age"][1] != first[1][1]
    (info / "RECORD").unlink()
    assert packages(str(tmp_path)) == {"my-pack-age": ["1.0", "no RECORD"]}


def test_this_environment_can_be_read() -> None:
    root = Path(sysconfig.get_paths()["purelib"]).parents[2]
    found = packages(str(root))
    assert len(found["pytest"][1]) == 64
    assert not any("no RECORD" in value for value in found.values()) or os.environ.get("CI")
