"""What is shipped: a wheel that was built from the source archive works in an empty environment without the engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.timeout(900)


def call(*argv: str | Path, cwd: Path, code: int = 0, **env: str) -> str:
    """Run a program away from the checkout; gives its standard output."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "COVERAGE_PROCESS_CONFIG")}
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that was built from it and not from the checkout."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, CHECKOUT, cwd=out)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=True)
    program = folder / "bin"
    install = (program / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q")
    call(*install, "-c", CHECKOUT / "constraints.txt", archives[1], cwd=folder)
    return program


def tracked(*folders: str) -> set[str]:
    """The files under version control below `folders`, or all files where this is no checkout."""
    done = subprocess.run(
        ["git", "ls-files", "-z", *folders], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 0:
        return {name for name in done.stdout.split("\0") if name and (CHECKOUT / name).is_file()}
    paths = (path for folder in folders for path in (CHECKOUT / folder).rglob("*"))
    return {str(path.relative_to(CHECKOUT)) for path in paths if path.is_file() and path.suffix != ".pyc"}


def test_the_wheel_holds_the_packages_and_their_data(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        names = set(wheel.namelist())
    wanted = {f"llmctl/{name}" for name in tracked("templates", "recipes")}
    wanted |= tracked("llmctl") | {name.partition("/")[2] for name in tracked("engine", "reports")}
    assert wanted - names == set()
    assert {f"{package}/py.typed" for package in ("llmctl", "llmctl_engine", "llmctl_reports")} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "llmctl",
        "llmctl_engine",
        "llmctl_reports",
    }
    assert not [name for name in names if "__pycache__" in name or "/runs/" in name]


def test_the_source_archive_holds_what_is_needed_to_build_and_test(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked("llmctl", "engine", "reports", "templates", "recipes", "tests", "docs", "bench") - names == set()
    assert {"pyproject.toml", "hatch_build.py", "constraints.txt", "Makefile", "LICENSE", "README.md"} <= names


def test_an_empty_environment_has_no_engine_libraries(installed: Path, tmp_path: Path) -> None:
    listed = call(installed / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path)
    names = {package["name"].lower() for package in json.loads(listed)}
    assert "typer" in names
    assert names.isdisjoint({"torch", "transformers", "deepspeed", "accelerate", "peft", "datasets"})


def test_the_commands_run_without_the_engine_libraries(installed: Path, tmp_path: Path) -> None:
    program, home = installed / "llmctl", str(tmp_path / "home")
    assert call(program, "--version", cwd=tmp_path).startswith("llmctl ")
    recipes = call(program, "recipes", "list", cwd=tmp_path, LLMCTL_HOME=home)
    assert "quickstart" in recipes
    shipped = call(
        installed / "python", "-c", "from llmctl.resources import data_dir; print(data_dir('recipes'))", cwd=tmp_path
    ).strip()
    assert Path(shipped).is_relative_to(installed.parent)
    call(program, "render", f"{shipped}/baichuan13b_2x8npu.yaml", "-o", tmp_path / "out", cwd=tmp_path)
    assert "node1 slots=8" in (tmp_path / "out/hostfile").read_text()
    assert (tmp_path / "out/launch.sh").is_file()


@pytest.mark.parametrize("command", ["check", "run", "setup-nodes", "ps", "report"])
def test_the_help_of_a_command_runs_without_the_engine_libraries(command: str, installed: Path, tmp_path: Path) -> None:
    assert f"llmctl {command}" in call(installed / "llmctl", command, "--help", cwd=tmp_path)


def test_check_asks_a_node_without_the_engine_libraries(installed: Path, tmp_path: Path) -> None:
    argv = (installed / "llmctl", "check", "here=127.0.0.1:1", "--json")
    told = json.loads(call(*argv, cwd=tmp_path, code=5, LLMCTL_HOME=str(tmp_path)))
    assert "the connection was refused" in told["errors"]["here"]


def test_the_shipped_quickstart_is_complete(installed: Path, tmp_path: Path) -> None:
    code = "from llmctl.resources import data_dir; print(data_dir('recipes') / 'quickstart.yaml')"
    recipe = call(installed / "python", "-c", code, cwd=tmp_path).strip()
    told = call(installed / "llmctl", "run", recipe, "--dry-run", cwd=tmp_path, LLMCTL_HOME=str(tmp_path / "home"))
    assert "launch.sh 0" in told
    assert not (tmp_path / "runs").exists()


def test_a_report_is_made_without_the_engine_libraries(installed: Path, tmp_path: Path) -> None:
    code = "from llmctl.resources import data_dir; print(data_dir('recipes') / 'data/quickstart/reference/steps.jsonl')"
    log = call(installed / "python", "-c", code, cwd=tmp_path).strip()
    told = call(
        installed / "llmctl", "report", log, "--compare", log, "-o", "out", cwd=tmp_path, LLMCTL_HOME=str(tmp_path)
    )
    assert told.splitlines()[-2].startswith("PASS: ")
    assert (tmp_path / "out" / "report.html").is_file()
