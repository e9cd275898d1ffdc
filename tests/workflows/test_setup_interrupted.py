"""setup-nodes half done, by Ctrl-C or for some nodes only: what was done, and what stays, is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from llmctl.cli.setup_shown import as_text
from llmctl.errors import ExitCode
from llmctl.recipe.hosts import parse_nodes
from llmctl.remote.firstcontact import FirstContact
from llmctl.remote.inventory import load_inventory
from llmctl.remote.secret import Secret
from llmctl.workflows import setup_nodes as workflow
from llmctl.workflows.setup_result import Setup
from llmctl.workflows.setup_values import Wishes
from tests.conftest import RunLlmctl
from tests.lab import Lab

pytestmark = pytest.mark.lab
SetUp = Callable[..., Setup]


def stopped(*_: object, **__: object) -> NoReturn:
    """Ctrl-C at this place."""
    raise KeyboardInterrupt


@pytest.fixture
def two(fresh_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab = fresh_lab(count=2)
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    return lab


def set_up(lab: Lab, **wishes: Any) -> Setup:
    password = lab.site.password
    if password is None:
        pytest.skip("the nodes of a lab without root share this machine's files")
    asked = Wishes(password=lambda: Secret(password), first_contact=FirstContact(accept_new=True), **wishes)
    return workflow.setup_nodes(parse_nodes(lab.specs), asked)


def test_what_was_written_is_shown_and_can_be_removed_by_name(
    two: Lab, monkeypatch: pytest.MonkeyPatch, run_llmctl: RunLlmctl
) -> None:
    before = [lab_files(two, node) for node in (0, 1)]
    monkeypatch.setattr(workflow, "prove", stopped)
    done = set_up(two)
    assert done.exit_code is ExitCode.INTERRUPTED
    text = as_text(done, removed=False)
    assert all("~/.ssh/authorized_keys" in member.changes for member in done.members)
    assert "+ssh-ed25519" in text
    assert "0 of 4 logins proven" in text
    assert "llmctl setup-nodes node1 node2 --remove" in str(done.errors[-1])
    run_llmctl("setup-nodes", "node1", "node2", "--remove", env=two.env, code=0)
    assert [lab_files(two, node) for node in (0, 1)] == before


def test_a_pair_that_was_made_is_known(two: Lab, monkeypatch: pytest.MonkeyPatch, run_llmctl: RunLlmctl) -> None:
    monkeypatch.setattr(workflow, "write", stopped)
    done = set_up(two)
    rows = as_text(done, removed=False).splitlines()
    assert "stopped; changed, perhaps only in part: ~/.ssh/llmctl_ed25519" in rows[0]
    assert any(row.startswith("node2 ") and row.endswith("stopped before anything was changed") for row in rows)
    assert set(load_inventory()) == {"node1"}
    run_llmctl("setup-nodes", "node1", "--remove", *two.login_options(), env=two.env, code=0)
    assert two.exec(two.nodes[0], "ls -A /root/.ssh/llmctl_ed25519").code == 2


def test_a_removal_that_was_stopped_forgets_no_node(two: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = set_up(two)
    assert whole.errors == []
    monkeypatch.setattr(workflow, "_remove", stopped)
    done = workflow.remove_nodes(parse_nodes(["node1", "node2"]), Wishes())
    assert done.exit_code is ExitCode.INTERRUPTED
    assert set(load_inventory()) == {"node1", "node2"}
    assert "removed" not in as_text(done, removed=True)


def test_what_other_nodes_keep_of_a_removed_one_is_told(two: Lab) -> None:
    set_up(two)
    done = workflow.remove_nodes(parse_nodes(["node1"]), Wishes())
    assert "node2 may still hold node1's key and name" in done.members[0].notes[0]
    assert "llmctl setup-nodes node2 --remove" in done.members[0].notes[0]


def lab_files(lab: Lab, place: int) -> str:
    return lab.exec(lab.nodes[place], "cat /etc/hosts; find /root/.ssh -type f 2>/dev/null | sort").stdout
