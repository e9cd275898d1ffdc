"""`llmctl setup-nodes`: what is said to wrong usage, before any node is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmctl.cli.setup_shown import as_text
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import resolve
from llmctl.workflows.setup_result import Setup
from llmctl.workflows.setup_values import Member
from tests.conftest import RunLlmctl

CASES = [
    (["node1", "--check", "--remove"], "exclude each other"),
    (["node1", "--fingerprint", "node1:SHA256:x"], "is not understood"),
    (["node1", "--fingerprint", "node9=SHA256:x"], "names no node of this command: node9"),
    (["node1", "--identity", "/nonexistent/key"], "/nonexistent/key"),
    (["nowhere.invalid", "--password-file", "/nonexistent/word"], "the password file cannot be read"),
    (["node1", "--port", "70000"], "next: llmctl setup-nodes --help"),
    (["node1", "--port", "70000"], "less than or equal to 65535"),
    ([], "no node is named"),
]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(tmp_path), "LLMCTL_HOME": str(tmp_path / "home")}


@pytest.mark.parametrize(("words", "told"), CASES, ids=[told for _, told in CASES])
def test_wrong_usage_is_told_and_leaves_nothing(
    run_llmctl: RunLlmctl, env: dict[str, str], words: list[str], told: str
) -> None:
    done = run_llmctl("setup-nodes", *words, env=env, code=2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(env["LLMCTL_HOME"]).exists()


def test_a_name_that_resolves_nowhere_shows_how_to_give_its_address(run_llmctl: RunLlmctl, env: dict[str, str]) -> None:
    done = run_llmctl("setup-nodes", "no-such-node.invalid", env=env, code=5)
    assert "no-such-node.invalid=10.0.0.1" in done.stderr


def test_the_help_names_every_option_that_is_built(run_llmctl: RunLlmctl, env: dict[str, str]) -> None:
    shown = run_llmctl("setup-nodes", "--help", env=env, code=0).stdout
    for option in ("--mesh", "--fingerprint", "--accept-new", "--dry-run", "--check", "--remove", "--forget", "--json"):
        assert option in shown


def test_what_would_change_stands_below_the_node_that_it_is_of() -> None:
    members = [
        Member(
            target=resolve(Node(name=name, address="10.0.0.1"), inventory={}),
            changes=["/etc/hosts"],
            diffs=[f"+++ of {name}"],
            notes=["pdsh is missing"],
        )
        for name in ("node1", "node2")
    ]
    lines = as_text(Setup(mode="dry-run", members=tuple(members)), removed=False).splitlines()
    assert [line.split(" ")[0] or line for line in lines] == [
        "node1", "+++", "  note: pdsh is missing", "node2", "+++", "  note: pdsh is missing"
    ]  # fmt: skip
    assert lines[4] == "+++ of node2"
