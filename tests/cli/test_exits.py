"""What the command line says and returns when something goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from llmctl.cli.exits import run_guarded
from llmctl.errors import (
    BlockedError,
    ExitCode,
    Interrupted,
    JobFailed,
    LlmctlError,
    ManyErrors,
    NodeError,
    UsageError,
    worst,
)


def app_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def go() -> None:
        raise error

    return app


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["llmctl"])
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("bad"), 2),
        (BlockedError("blocked"), 3),
        (NodeError("gone"), 5),
        (JobFailed("failed"), 1),
        (Interrupted("stopped"), 130),
        (KeyboardInterrupt(), 130),
        (typer.Exit(4), 4),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert run_guarded(app_that_raises(error)) == code


def test_an_error_tells_what_where_why_and_what_next(capsys: pytest.CaptureFixture[str]) -> None:
    run_guarded(app_that_raises(UsageError("no such file", where="a.yaml:3", why="it is gone", hint="ls")))
    assert capsys.readouterr().err == "llmctl: a.yaml:3: no such file\n  why:  it is gone\n  next: ls\n"


def test_many_errors_are_told_together() -> None:
    text = str(ManyErrors([UsageError("one"), UsageError("two", hint="fix it")], where="a.yaml"))
    assert text == "a.yaml: 2 mistakes\n  one\n  two\n    next: fix it"


def test_a_defect_leaves_its_traceback_in_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_guarded(app_that_raises(ZeroDivisionError("oops"))) == 1
    err = capsys.readouterr().err
    (crash,) = (tmp_path / "home" / "crash").iterdir()
    assert str(crash) in err
    assert "Traceback" not in err
    assert "ZeroDivisionError: oops" in crash.read_text()


def test_ctrl_c_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(app_that_raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "llmctl: interrupted\n"


IMPATIENT = """
import os, signal, threading
from llmctl.cli import app, exits

def again():
    threading.main_thread().join()  # it has ended but for what still runs in threads
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

def once(app):
    threading.Thread(target=again).start()
    return 130

exits.run_guarded = once
app.main()
"""


def test_a_second_ctrl_c_changes_nothing_of_the_exit_code() -> None:
    done = subprocess.run([sys.executable, "-c", IMPATIENT], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(("words", "both"), [("recipes list", False), ("recipes schema", True)])
def test_output_that_nobody_reads_is_no_failure(words: str, both: bool) -> None:
    """Of a table, which rich prints; of lines, with standard error in the same pipe."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "llmctl", *words.split()],
            stdout=write,
            stderr=subprocess.STDOUT if both else subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr or "") == (0, "")


def test_another_pipe_that_breaks_is_a_defect(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(app_that_raises(BrokenPipeError())) == 1
    assert "a defect of llmctl (BrokenPipeError)" in capfd.readouterr().err


def test_an_unknown_command_is_bad_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from llmctl.cli.app import app

    monkeypatch.setattr("sys.argv", ["llmctl", "bogus"])
    assert run_guarded(app) == 2
    assert "bogus" in capsys.readouterr().err


def test_of_several_codes_the_first_of_the_order_applies() -> None:
    assert worst([ExitCode.OK, ExitCode.FAILED, ExitCode.NODE]) is ExitCode.NODE
    assert worst([ExitCode.NODE, ExitCode.USAGE]) is ExitCode.USAGE
    assert worst([ExitCode.INCONCLUSIVE, ExitCode.FAILED]) is ExitCode.FAILED
    assert worst([]) is ExitCode.OK


def test_every_error_class_has_an_exit_code() -> None:
    def classes(cls: type[LlmctlError]) -> list[type[LlmctlError]]:
        return [cls, *(sub for child in cls.__subclasses__() for sub in classes(child))]

    assert all(cls.exit_code in set(ExitCode) for cls in classes(LlmctlError))
