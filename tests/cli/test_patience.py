"""The living line for work that takes long."""

from __future__ import annotations

import io
import sys

import pytest

from llmctl.cli import patience
from llmctl.recipe.hosts import Node
from llmctl.workflows.far import FarPath
from tests.faults.harness import until

FAR = FarPath(node=Node(name="node1"), path="/a.log", given="node1:/a.log")


class Terminal(io.StringIO):
    """Standard error of somebody who looks."""

    def isatty(self) -> bool:
        return True


def test_a_person_sees_what_comes_and_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    monkeypatch.setattr(patience, "AFTER", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with patience.Patience("reading") as shown:
        until("what goes on", lambda: "reading" in seen.getvalue())
        shown.moved(FAR, 2_500_000, 10_000_000)
        until("how much has come", lambda: "node1:/a.log: 2.5 of 10.0 MB" in seen.getvalue())


def test_what_is_quick_or_goes_into_a_pipe_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for seen in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", seen)
        monkeypatch.setattr(patience, "AFTER", 0.0 if not seen.isatty() else 60.0)
        with patience.Patience("reading") as shown:
            shown.moved(FAR, 1, 2)
        assert seen.getvalue() == ""
