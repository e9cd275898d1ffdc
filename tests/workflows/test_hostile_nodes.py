"""`check` and `setup-nodes` with one node of three that behaves badly: its own clear result, the others' are whole."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunLlmctl, llmctl
from tests.lab import Lab
from tests.lab.hostile import BASHRC, OTHER_KEY, STOPPED, hostile, restarted, with_shell

pytestmark = pytest.mark.lab
NAMES = ("node1", "node2", "node3")
NOISE = (
    "seq -f 'line %g of the banner' 10000 > /etc/ssh/banner; "
    f'echo \'seq -f "line %g of .bashrc" 10000; seq -f "complaint %g" 10000 >&2\' > {BASHRC}; '
    + restarted("1i Banner /etc/ssh/banner")
)
WITHOUT_PYTHON = "for f in /usr/bin/python*; do mv $f $f.away; done"
WITH_PYTHON = "for f in /usr/bin/python*.away; do mv $f ${f%.away}; done"


@pytest.fixture
def bad(three: Lab) -> Iterator[Callable[[str], None]]:
    """Run a command inside node2 that makes it hostile; taken back at the end."""
    with hostile(three, three.nodes[1]) as make:
        yield make


def check(lab: Lab, code: int, *words: str) -> dict[str, Any]:
    """What `llmctl check` tells, within its time; node1 and node3 are read whole."""
    started = time.monotonic()
    done = llmctl("check", *NAMES, "--json", *words, env=lab.env, code=(code, 3 if code == 0 else code))
    assert time.monotonic() - started < 65
    told: dict[str, Any] = json.loads(done.stdout)
    read = {node: {fact["name"] for fact in told["facts"] if fact["node"] == node} for node in NAMES}
    assert read["node3"] - {"network.path_mtu"} <= read["node1"]  # asked of all but the first
    assert len(read["node3"]) > 25
    assert set(told["errors"]) <= {"node2"}
    for error in told["errors"].values():
        assert error.startswith("node2")
        assert "why: " in error
        assert "next: " in error
        assert error in done.stderr.replace("llmctl: node2", "node2")
    return told


def setup(run: RunLlmctl, lab: Lab, code: int, *words: str | Path) -> dict[str, dict[str, Any]]:
    """What `llmctl setup-nodes` tells of each node; nothing is amiss with node1 and node3."""
    started = time.monotonic()
    done = run("setup-nodes", *(words or NAMES), "--json", env=lab.env, code=code)
    assert time.monotonic() - started < 100
    told = {node["name"]: node for node in json.loads(done.stdout)["nodes"]}
    assert [told[name]["error"] for name in ("node1", "node3")] == [None, None]
    return told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (STOPPED, "its sshd does not answer"),
        (OTHER_KEY, "the host key has changed"),
        (with_shell("/usr/sbin/nologin"), "This account is currently not available"),
        (f"{with_shell('/bin/rbash')}; echo 'PATH=/nowhere' > {BASHRC}", "the login runs no commands"),
        (restarted("$a ForceCommand echo backups only"), "and said: backups only"),
        (f"echo 'while :; do echo noise; done' > {BASHRC}", "the login shell prints without end"),
    ],
    ids=["stopped", "other key", "nologin", "rbash", "forced command", "endless"],
)
def test_a_node_that_cannot_be_used(
    bad: Callable[[str], None], three: Lab, run_llmctl: RunLlmctl, words: str, told: str
) -> None:
    bad(words)
    assert told in check(three, 5)["errors"]["node2"]
    assert told in setup(run_llmctl, three, 5)["node2"]["error"]


def test_noise_changes_nothing(bad: Callable[[str], None], three: Lab, run_llmctl: RunLlmctl) -> None:
    before = check(three, 0)
    bad(NOISE)
    after = check(three, 0)
    assert after["errors"] == {}
    assert [finding["code"] for finding in after["findings"]] == [finding["code"] for finding in before["findings"]]
    assert setup(run_llmctl, three, 0)["node2"]["changes"] == []


def test_tools_that_hang_are_facts_without_a_value(bad: Callable[[str], None], three: Lab) -> None:
    for tool in ("npu-smi", "df", "nproc"):
        bad(f"printf '#!/bin/sh\\nsleep 1000\\n' > /usr/local/bin/{tool}; chmod 755 /usr/local/bin/{tool}")
    told = check(three, 0, "--device", "npu")
    assert told["errors"] == {}
    facts = {fact["name"]: fact for fact in told["facts"] if fact["node"] == "node2"}
    assert "no answer within" in facts["host.cores"]["error"]
    assert facts["network.hostname"]["value"] == "node2"
    assert three.exec(three.nodes[1], "pgrep -fx 'sleep 1000' | wc -l").stdout == "0\n"


def test_no_python_is_told_with_what_to_install(bad: Callable[[str], None], three: Lab, run_llmctl: RunLlmctl) -> None:
    bad(WITHOUT_PYTHON)
    try:
        assert "has no Python 3" in check(three, 5)["errors"]["node2"]
        assert "there is no python3" in str(setup(run_llmctl, three, 3)["node2"]["problems"])
    finally:
        three.exec(three.nodes[1], WITH_PYTHON)


def test_max_startups_of_three_is_no_error(bad: Callable[[str], None], three: Lab, run_llmctl: RunLlmctl) -> None:
    bad(restarted("s/^MaxStartups.*/MaxStartups 3:100:3/"))
    assert check(three, 0)["errors"] == {}
    logins = setup(run_llmctl, three, 0, *NAMES, "--mesh")
    assert logins["node2"]["error"] is None


def test_a_wrong_password_concerns_its_node_alone(
    bad: Callable[[str], None], three: Lab, run_llmctl: RunLlmctl
) -> None:
    bad("mv /root/.ssh/authorized_keys /root/.ssh/away; sed -i 's|^root:[^:]*|root:$6$other$hash|' /etc/shadow")
    try:
        told = setup(run_llmctl, three, 5, *NAMES, *three.login_options())["node2"]["error"]
        assert "the login was refused" in told
        assert "the password" in told
        assert "is the password right" in told
    finally:
        three.exec(three.nodes[1], "mv /root/.ssh/away /root/.ssh/authorized_keys")
