"""What the command line says and returns when something goes wrong."""

from __future__ import annotations

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
