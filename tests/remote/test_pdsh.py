"""pdsh against real nodes, and how its output is read."""

from __future__ import annotations

import shutil

import pytest

from llmctl.errors import HostKeyError, NodeError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote import pdsh
from llmctl.remote.pdsh import Labelled, pdsh_version, run_pdsh
from tests.conftest import set_up
from tests.lab import Lab

needs_pdsh = pytest.mark.skipif(shutil.which("pdsh") is None, reason="pdsh is not installed")


def test_lines_are_given_to_their_labels() -> None:
    text = "n0: one\nn1: \npdsh@head: n1: ssh exited with exit code 255\nn0: a: b\n"
    told = Labelled()
    for line in text.splitlines(keepends=True):
        told.take(line)
    assert told.texts() == {"n0": "one\na: b\n", "n1": "\nssh exited with exit code 255\n"}


def test_a_missing_pdsh_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="pdsh is not installed"):
        pdsh_version()


@pytest.fixture
def at_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    return lab


@needs_pdsh
@pytest.mark.lab
def test_hostile_scripts_come_through_with_their_own_codes(at_lab: Lab) -> None:
    script = "echo \"%h %n 'quoted' $(hostname)\" 中; date +%H:%M >/dev/null; echo bad >&2; printf 'no end'\n"
    script += "case $(hostname) in node1) exit 3;; *) kill -9 $$;; esac\n"
    nodes = [Node(name="node1"), Node(name="node2"), Node(name="node1")]
    outcomes = run_pdsh(nodes, script)
    assert [outcome.item for outcome in outcomes] == nodes
    codes = [outcome.value.code for outcome in outcomes if outcome.value]
    assert codes == [3, 137, 3]
    first = outcomes[0].value
    assert first is not None
    assert first.stdout == "%h %n 'quoted' node1 中\nno end"
    assert "bad\n" in first.stderr


@needs_pdsh
@pytest.mark.lab
def test_a_node_that_cannot_be_reached_has_its_own_error(at_lab: Lab) -> None:
    good, bad = run_pdsh([Node(name="node1"), Node(name="no.such.node.invalid")], "echo ok")
    assert good.value is not None
    assert good.value.stdout == "ok\n"
    assert isinstance(bad.error, NodeError)
    assert "no.such.node.invalid" in str(bad.error)


@needs_pdsh
@pytest.mark.lab
def test_a_script_without_end_is_ended_on_the_node(at_lab: Lab) -> None:
    (outcome,) = run_pdsh([Node(name="node1")], "sleep 9876", timeout=1)
    assert "no end after 1 s" in str(outcome.error)
    assert at_lab.exec(at_lab.nodes[0], "ps ax | grep -c '[s]leep 9876'").stdout.strip() == "0"


@needs_pdsh
@pytest.mark.lab
def test_a_node_that_prints_without_end_costs_no_memory(at_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdsh, "MOST", 100_000)
    monkeypatch.setattr(pdsh, "GRACE", 10.0)
    outcomes = run_pdsh(
        [Node(name="node1"), Node(name="node2")], "[ $(hostname) = node1 ] && exec yes; echo good", timeout=2
    )
    assert "no end" in str(outcomes[0].error)
    assert outcomes[1].value is not None
    assert outcomes[1].value.stdout == "good\n"


@needs_pdsh
@pytest.mark.lab
def test_a_changed_host_key_is_refused(trusted_lab: Lab) -> None:
    trusted_lab.new_host_key(trusted_lab.nodes[0])
    (outcome,) = run_pdsh([Node(name="node1")], "echo never")
    assert isinstance(outcome.error, HostKeyError)
    assert "--forget" in str(outcome.error)


@pytest.fixture
def trusted_lab(fresh_lab, monkeypatch: pytest.MonkeyPatch) -> Lab:  # type: ignore[no-untyped-def]
    lab: Lab = fresh_lab(count=1)
    set_up(lab)
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    return lab
