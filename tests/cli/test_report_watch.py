"""`llmctl report --watch` on logs that grow."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmctl.run.folder import write_json
from tests.cli.jobs import Running
from tests.faults.harness import until


def append(path: Path, first: int, last: int) -> None:
    """Steps `first` to `last` of a Megatron log."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(
            f" iteration {n}/ 99 | elapsed time per iteration (ms): 500.0 | global batch size: 8 "
            f"| lm loss: {2 + 1 / n:.6E} |\n"
            for n in range(first, last + 1)
        )


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.chdir(tmp_path)
    running: list[Running] = []
    env = {**os.environ, "LLMCTL_HOME": str(tmp_path / "home")}
    env.pop("LLMCTL_RUNS", None)

    def begin(*words: str) -> Running:
        argv = [sys.executable, "-m", "llmctl", "report", "--watch", *words]
        running.append(Running(argv, env, tmp_path / f"out{len(running)}"))
        return running[-1]

    yield begin
    for each in running:
        each.kill()


def test_a_block_for_each_growth_until_somebody_leaves(tmp_path: Path, start: Start) -> None:
    log = tmp_path / "a.log"
    append(log, 1, 5)
    watching = start("a.log")
    watching.until(r"a: step 5, loss 2\.2000")
    append(log, 6, 12)
    watching.until(r"a: step 12, loss 2\.0833")
    watching.send(signal.SIGINT)
    assert watching.ends() == 0
    assert watching.text.count("a: step ") == 2
    assert "\x1b" not in watching.text
    assert "Traceback" not in watching.text
    assert list(tmp_path.glob("report-*")) == []


def test_a_run_is_watched_from_before_its_first_step_to_its_verdict(tmp_path: Path, start: Start) -> None:
    run = tmp_path / "runs" / "a-20261121-093000-kqzt"
    (run / "output").mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"state": "RUNNING"}))
    append(tmp_path / "ref.log", 1, 20)
    watching = start(run.name, "--compare", "ref.log")
    watching.until("waiting: nothing of this run is here yet")
    steps = "".join(json.dumps({"record": "step", "step": n, "loss": 3 + 1 / n}) + "\n" for n in range(1, 13))
    (run / "output" / "steps.jsonl").write_text(steps)
    watching.until(r"step 12, loss 3\.0833(.|\n)*FAIL: ")
    write_json(run / "manifest.json", {"state": "SUCCEEDED"})
    assert watching.ends() == 1
    assert watching.text.splitlines()[-1] == f"report: {run}/report/report.html"
    assert (run / "report" / "report.html").is_file()


def test_a_terminal_is_drawn_again_in_place(tmp_path: Path) -> None:
    append(tmp_path / "a.log", 1, 5)
    master, slave = pty.openpty()
    env = {**os.environ, "LLMCTL_HOME": str(tmp_path / "home"), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "llmctl", "report", "--watch", "a.log"], cwd=tmp_path, env=env, stdout=slave
    )
    os.close(slave)
    seen = bytearray()

    def read() -> None:
        try:
            while piece := os.read(master, 4096):
                seen.extend(piece)
        except OSError:
            return  # the other end of the terminal is closed

    reader = threading.Thread(target=read)
    reader.start()
    try:
        until("the first drawing", lambda: b"a: step 5" in seen)
        append(tmp_path / "a.log", 6, 9)
        until("the second drawing", lambda: b"a: step 9" in seen)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        os.close(master)
    assert b"\x1b[1A" in seen, "the cursor goes up to draw over what was there"
    assert b"Ctrl-C leaves" in seen


def test_one_run_of_this_machine_is_watched(start: Start) -> None:
    many = start("a.log", "b.log")
    assert many.ends() == 2
    assert "--watch shows the report on one run" in many.text
    away = start("nowhere:/tmp/a.log")
    assert away.ends() == 2
    assert "only what lies on this machine can be watched" in away.text
