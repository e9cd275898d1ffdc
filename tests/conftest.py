"""What tests of several rooms share: the lab of sshd nodes, and the real command line in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import Lab

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a shell that started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

STRICT = os.environ.get("LLMCTL_CI") == "1"
"""Set by `.ci/run`: what tests need from the system is there, so no test may skip for the lack of it."""

# A busy machine is no mistake of what is tested; under `.ci/run` the same commit has the same examples each time.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=STRICT)
settings.load_profile("ours")

INSTALLED = re.compile(r"\b(sshd|pdsh|needs root|needs torch|no lab|node lab|iproute2|rsync|sudo|chromium|Slurm)\b")

RunLlmctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under `.ci/run`, a skip for the lack of what it installs is a failure."""
    report = yield
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if STRICT and report.skipped and INSTALLED.search(reason):
        report.outcome, report.longrepr = "failed", f"may not skip here: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the index, the keys, the inventory or what is prepared of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCTL_HOME", str(tmp_path_factory.mktemp("llmctl-home")))
        patch.setenv("LLMCTL_CACHE", str(tmp_path_factory.mktemp("llmctl-cache")))
        yield


def llmctl(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float = 240,
    code: int | Sequence[int] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `llmctl` in a process of its own, without a terminal. With `code`, any other exit code fails the test
    and shows both streams."""
    argv = [sys.executable, "-m", "llmctl", *map(str, words)]
    done = subprocess.run(
        argv,
        env=dict(os.environ if env is None else env),
        cwd=cwd,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    wanted = (code,) if isinstance(code, int) else code
    if wanted is not None and done.returncode not in wanted:
        pytest.fail(f"{' '.join(argv)}\nexit code {done.returncode}, wanted {code}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture
def run_llmctl() -> RunLlmctl:
    """The real command line: `run_llmctl("check", "node1", env=lab.env, code=0)` gives returncode, stdout, stderr."""
    return llmctl


@pytest.fixture
def fresh_lab() -> Iterator[Callable[..., Lab]]:
    """A factory: `fresh_lab(count=2, disk_mb=64)` gives nodes on which nothing was set up."""
    with ExitStack() as stack:
        yield lambda **options: _enter(stack, **options)


def set_up(lab: Lab) -> None:
    """Run the real setup-nodes on all nodes of a lab."""
    llmctl("setup-nodes", *lab.specs, "--accept-new", *lab.login_options(), env=lab.env, code=0)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two nodes on which the real `llmctl setup-nodes` has run."""
    with ExitStack() as stack:
        lab = _enter(stack, count=2)
        set_up(lab)
        yield lab


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    """Three set-up nodes of the module's own, whose files and accounts its tests may change."""
    with ExitStack() as stack:
        lab = _enter(stack, count=3, disk_mb=1024)
        if lab.site.password is None:
            pytest.skip("the nodes of a lab without root share this machine's files and accounts")
        set_up(lab)
        yield lab


def _enter(stack: ExitStack, **options: Any) -> Lab:
    try:
        return stack.enter_context(Lab.start(**options))
    except RuntimeError as error:
        pytest.skip(f"no node lab: {error}")
