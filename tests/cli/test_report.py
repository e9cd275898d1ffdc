"""The real command: output, files and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def log(folder: Path, name: str, factor: float, count: int = 20) -> Path:
    path = folder / name
    path.write_text(
        "".join(
            f" iteration {n}/ 99 | elapsed time per iteration (ms): 500.0 | global batch size: 8 "
            f"| lm loss: {factor * (2 + 1 / n):.6E} | grad norm: 1.0 |\n"
            for n in range(1, count + 1)
        ),
        encoding="utf-8",
    )
    return path


@pytest.fixture
def call(tmp_path: Path, run_llmctl: Run) -> Run:
    env = os.environ | {"LLMCTL_HOME": str(tmp_path / "home")}
    env.pop("LLMCTL_RUNS", None)
    return lambda *words, code: run_llmctl("report", *words, cwd=tmp_path, env=env, code=code)


def test_pass_writes_files_and_prints_tables_verdict_and_path(tmp_path: Path, call: Run) -> None:
    run = log(tmp_path, "my run; echo foo.log", 1.0)
    done = call(run, "--compare", log(tmp_path, "参考.log", 1.001), code=0)
    lines = done.stdout.splitlines()
    assert any(line.split() == ["Run", "-", "20", "16.00", "-", "0.500"] for line in lines)
    assert any(line.startswith("PASS: bias of the mean loss -0.0999 %, 95 % interval ") for line in lines)
    assert lines[-1] == "report: report-my run; echo foo/report.html"
    assert (tmp_path / "report-my run; echo foo/report.html").is_file()
    assert "\x1b" not in done.stdout


def test_fail_and_inconclusive(tmp_path: Path, call: Run) -> None:
    run = log(tmp_path, "run.log", 1.0)
    assert "FAIL: " in call(run, "--compare", log(tmp_path, "bad.log", 1.1), code=1).stdout
    short = log(tmp_path, "short.log", 1.0, count=5)
    assert "10 common points are needed; 5 common points" in call(run, "--compare", short, code=4).stdout


def test_json_is_all_that_is_printed(tmp_path: Path, call: Run) -> None:
    run = log(tmp_path, "run.log", 1.0)
    done = call(run, "--compare", log(tmp_path, "bad.log", 1.1), "--format", "json", code=1)
    value = json.loads(done.stdout)
    assert (value["schema"], value["comparisons"][0]["verdict"]) == (1, "FAIL")
    assert json.loads(call(run, "--json", code=0).stdout)["comparisons"] == []
    assert "--format json -o FILE" in call(run, "--json", "-o", tmp_path / "x", code=2).stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run.log", "bad.log"}


def test_the_summary_is_all_that_is_printed(tmp_path: Path, call: Run) -> None:
    run = log(tmp_path, "run.log", 1.0)
    done = call(run, "--compare", log(tmp_path, "ref.log", 1.1), "--format", "summary", "--lang", "zh", code=1)
    assert done.stdout.startswith("# 训练报告: run\n\n**FAIL：精度不满足要求。")
    assert {path.name for path in tmp_path.iterdir()} == {"run.log", "ref.log"}


def test_only_pictures_need_matplotlib_and_only_other_machines_ssh(tmp_path: Path, run_llmctl: Run) -> None:
    for name in ("matplotlib", "pandas", "paramiko", "torch"):
        (tmp_path / "none" / name).mkdir(parents=True)
        (tmp_path / "none" / name / "__init__.py").write_text("raise ImportError('not here')")
    env = os.environ | {"LLMCTL_HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "none")}
    words = ("report", log(tmp_path, "run.log", 1.0), "--compare", log(tmp_path, "ref.log", 1.0), "-o", "out")
    done = run_llmctl(*words, cwd=tmp_path, env=env, code=0)
    assert "loss 3 █" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("report.html", "report.md", "report.json", "points.csv"),
    }
    assert "ImportError" in run_llmctl(*words, "--format", "png", cwd=tmp_path, env=env).stderr


def test_many_runs_are_one_table_and_one_exit_code(tmp_path: Path, call: Run) -> None:
    good, bad = log(tmp_path, "good.log", 1.0), log(tmp_path, "bad.log", 1.1)
    done = call(good, bad, "gone.log", "--compare", log(tmp_path, "ref.log", 1.001), code=2)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [(row[0], row[-1]) for row in rows if row[:1] in (["good.log"], ["bad.log"])] == [
        ("good.log", "PASS"),
        ("bad.log", "FAIL"),
    ]
    assert "gone.log: no such file" in done.stdout
    assert done.stdout.splitlines()[-1] == "report: report-runs/runs.html"
    value = json.loads(call(good, bad, "--compare", "ref.log", "--format", "json", code=1).stdout)
    assert [each["verdict"] for each in value["comparisons"]] == ["PASS", "FAIL"]
    assert "| bad.log |" in call(good, bad, "--format", "summary", code=0).stdout


def test_one_start_of_a_log_that_holds_several(tmp_path: Path, call: Run) -> None:
    twice = tmp_path / "twice.log"
    parts = (log(tmp_path, "one.log", 1.5, count=15), log(tmp_path, "two.log", 1.0, count=20))
    twice.write_text("".join(part.read_text(encoding="utf-8") for part in parts), encoding="utf-8")
    call(twice, "--segment", "1", "--compare", parts[0], "--profile", "exact", code=0)
    call(twice, "--segment", "2", "--compare", parts[1], "--profile", "exact", code=0)
    assert "no segment 3" in call(twice, "--segment", "3", code=2).stderr


def test_mistakes_are_told(tmp_path: Path, call: Run) -> None:
    (tmp_path / "empty.log").write_text("hello\n")
    done = call("empty.log", code=2)
    assert "no losses in this file" in done.stderr
    assert "trainer_state.json" in done.stderr
    assert "no such file" in call("missing.log", code=2).stderr
    assert "there is no run yet" in call(code=2).stderr
    run = log(tmp_path, "run.log", 1.0)
    assert "no such file" in call(run, "--compare", "gone.log", code=2).stderr
    assert "unknown value 'pdf'" in call(run, "--format", "pdf", code=2).stderr
    assert list(tmp_path.glob("report-*")) == []
