"""`llmctl prepare`, as a person types it, and the run that uses what it made."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.jobs import Running
from tests.conftest import RunLlmctl
from tests.engine.runs import INIT, rows, write_data
from tests.faults.harness import until

RECIPE: dict[str, Any] = {
    "name": "small",
    "cluster": {"device": "cpu"},
    "launch": {"backend": "local"},
    "model": {"init": INIT},
    "data": {"datasets": ["numbers"], "cutoff_len": 192, "packing": "exact"},
    "train": {"epochs": 1, "micro_batch": 2},
}
HANGS = f"""#!{sys.executable} -S
import pathlib, subprocess, sys, time
print('{{"done": 1, "total": 2}}', flush=True)
cache = pathlib.Path(sys.argv[sys.argv.index("--to") + 1])
(cache / "half").mkdir()
child = subprocess.Popen(["sh", "-c", "trap : INT TERM; while :; do sleep 1; done"])
(cache / "half" / "ids.npy").write_text(str(child.pid))
time.sleep(1000)
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "LLMCTL_CACHE": str(tmp_path / "cache"), "LLMCTL_RUNS": str(tmp_path / "runs")}


def write(folder: Path, **sections: Any) -> Path:
    write_data(folder / "data", rows(24))
    path = folder / "r.yaml"
    path.write_text(json.dumps(RECIPE | sections))  # JSON is YAML
    return path


def python(folder: Path, text: str) -> dict[str, Any]:
    """A cluster block whose Python is a program of its own."""
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return {"device": "cpu", "python": str(path)}


@pytest.mark.engine
def test_what_is_prepared_is_told_found_again_and_used_while_it_fits(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    recipe = write(tmp_path)
    before = run_llmctl("run", recipe, "--dry-run", env=env, code=0).stdout
    assert f"follows from the tokens; llmctl prepare {recipe} tells it before" in before
    told = run_llmctl("prepare", recipe, "--samples", "1", env=env, code=0)
    assert "\x1b" not in told.stdout + told.stderr
    shown = re.search(r"^padding +([\d.]+%)  of what is computed, ([\d.]+%) without", told.stdout, re.MULTILINE)
    assert re.search(r"^examples +24  of 24 rows$", told.stdout, re.MULTILINE)
    assert "\nsample 1: numbers row 1, " in told.stdout
    assert re.search(r"⟦It is 1\. ?</s>\n⟧", told.stdout)
    (folder,) = (tmp_path / "cache" / "prepared").iterdir()
    again = run_llmctl("prepare", recipe, "--json", "--samples", "0", "--set", "train.micro_batch=1", env=env, code=0)
    assert again.stderr == f"is there: {folder}\n"
    value = json.loads(again.stdout)
    assert (value["was_there"], value["path"], value["samples"]) == (True, str(folder), [])
    at_preparing = json.loads((folder / "prepared.json").read_text())["padding"]
    assert shown is not None
    assert shown.groups() == (f"{at_preparing['with']:.1%}", f"{at_preparing['without']:.1%}")
    assert value["padding"]["without"] < at_preparing["without"], "alone a row is padded to a multiple only"
    assert 1 < value["packs"] < value["examples"] == 24
    steps = -(-value["packs"] // 2)
    drafted = run_llmctl("run", recipe, "--dry-run", env=env, code=0).stdout
    assert f"batch 2, {steps} steps\n  trains on what is prepared: 24 examples in {value['packs']} packs" in drafted
    assert value["steps"] == value["packs"]
    other = run_llmctl("run", recipe, "--dry-run", "--set", "data.cutoff_len=191", env=env, code=0).stdout
    assert "not used; since then changed: cutoff_len\n" in other
    write_data(tmp_path / "data", rows(25))
    assert "changed: the rows of numbers\n" in run_llmctl("render", recipe, env=env, code=0).stdout


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_an_interrupt_leaves_nothing_behind(signum: signal.Signals, env: dict[str, str], tmp_path: Path) -> None:
    recipe = write(tmp_path, cluster=python(tmp_path, HANGS))
    cache = tmp_path / "cache" / "prepared"
    running = Running([sys.executable, "-m", "llmctl", "prepare", str(recipe)], env, tmp_path / "out")
    try:
        (child,) = running_until_written(running, cache)
        running.send(signum)
        assert running.ends() == 130
    finally:
        running.kill()
    told = running.text.removeprefix("tokenising: 1 of 2 rows\n")  # as of something that takes long
    assert told == "llmctl: stopped; nothing of it is left\n"
    assert list(cache.iterdir()) == []
    until("the end of what it had started", lambda: not lives(child))


def test_a_second_interrupt_leaves_nothing_alive_either(env: dict[str, str], tmp_path: Path) -> None:
    stays = f"#!/bin/sh\ntrap 'touch {tmp_path}/asked' INT TERM\necho $$ >{tmp_path}/pid\nwhile :; do sleep 1; done\n"
    recipe, pid = write(tmp_path, cluster=python(tmp_path, stays)), tmp_path / "pid"
    running = Running([sys.executable, "-m", "llmctl", "prepare", str(recipe)], env, tmp_path / "out")
    try:
        until("the start of the engine", lambda: pid.exists() and bool(pid.read_text()), 60)
        running.send(signal.SIGINT)
        until("the first request to end", (tmp_path / "asked").exists, 60)
        running.send(signal.SIGTERM)
        assert running.ends() == 130
    finally:
        running.kill()
    until("the end of the engine", lambda: not lives(int(pid.read_text())))


def test_a_terminal_that_goes_away_is_nothing_to_it_under_nohup(env: dict[str, str], tmp_path: Path) -> None:
    waits = f"touch {tmp_path}/begun\nuntil [ -e {tmp_path}/go ]; do sleep 0.1; done\n"
    recipe = write(tmp_path, cluster=python(tmp_path, f"#!/bin/sh\n{waits}echo error: over >&2; exit 1\n"))
    ignored = f"trap '' HUP; exec {sys.executable} -m llmctl prepare {recipe}"
    running = Running(["sh", "-c", ignored], env, tmp_path / "out")
    try:
        until("the start of the engine", (tmp_path / "begun").exists, 60)
        running.send(signal.SIGHUP)
        (tmp_path / "go").touch()
        assert running.ends() == 2
    finally:
        running.kill()
    assert running.text == "llmctl: over\n"


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def running_until_written(running: Running, cache: Path) -> list[int]:
    """The pids that the program has written, once it has."""

    def written() -> list[int]:
        assert running.process.poll() is None, running.text
        return [int(path.read_text()) for path in cache.glob(".*/half/ids.npy") if path.read_text()]

    until("something half-written", lambda: bool(written()), 60)
    return written()


def test_without_the_engines_libraries_it_says_so(env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    bare = python(tmp_path, f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    told = run_llmctl("prepare", write(tmp_path, cluster=bare), env=env, code=2).stderr
    assert re.match(r"llmctl: \w+ is not installed on this machine\n", told)
    assert "pip install 'llmctl[engine]'" in told
    assert list((tmp_path / "cache" / "prepared").iterdir()) == []


def test_words_before_the_engine_begins_are_no_news_of_it(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    broken = python(tmp_path, "#!/bin/sh\necho error: over >&2; exit 1\n")
    recipe = write(tmp_path, cluster=broken | {"activate": ["echo '{base} is active'"]})
    assert run_llmctl("prepare", recipe, env=env, code=2).stderr == "llmctl: over\n"


def test_what_breaks_the_engine_is_kept(env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    broken = python(tmp_path, '#!/bin/sh\necho one >&2\necho "OverflowError: two" >&2\nexit 3\n')
    env["LLMCTL_HOME"] = str(tmp_path / "home")
    told = run_llmctl("prepare", write(tmp_path, cluster=broken), env=env, code=1).stderr
    (kept,) = (tmp_path / "home" / "crash").iterdir()
    what = "llmctl: the engine ended with exit code 3\n  why:  OverflowError: two\n"
    assert told == f"{what}  next: all that it said is in {kept}\n"
    assert kept.read_text() == "one\nOverflowError: two\n"


def test_what_lies_on_the_nodes_only_is_told_with_what_to_type(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    far = {"cluster": {"device": "cpu", "nodes": ["node1"], "workdir": "/w"}, "launch": {"backend": "ssh"}}
    told = run_llmctl("prepare", write(tmp_path, **far, model={"path": "weights"}), env=env, code=2).stderr
    assert "the tokenizer lies on the nodes only" in told
    assert f"mkdir -p {tmp_path}/weights && scp 'node1:/w/weights/*." in told
    recipe = write(tmp_path, **far, data={"datasets": ["d"], "dir": "elsewhere"})
    told = run_llmctl("prepare", recipe, env=env, code=2).stderr
    assert f"scp -r node1:/w/elsewhere {tmp_path}/elsewhere" in told
    recipe = write(tmp_path, **far, data={"datasets": ["numbers"], "dir": f"{tmp_path}/data"})
    told = run_llmctl("prepare", recipe, env=env, code=2).stderr
    assert f"scp -r node1:{tmp_path}/data {tmp_path}/, and set data.dir: data; or" in told
    assert not (tmp_path / "cache").exists()


@pytest.mark.engine
def test_rows_that_cannot_be_trained_on_are_told_as_the_engine_tells_them(
    env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    recipe = write(tmp_path)
    write_data(tmp_path / "data", [{"instruction": "Q"}, *rows(2)])
    told = run_llmctl("prepare", recipe, env=env, code=2).stderr
    assert "numbers: 1 row with no output (1)" in told
    assert "data.broken_rows: skip" in told
    assert list((tmp_path / "cache" / "prepared").iterdir()) == []
