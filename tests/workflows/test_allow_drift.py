"""`--allow-drift CODE`: an unknown code is a mistake, a known one says what it lets through."""

from __future__ import annotations

import pytest

from llmctl.checks.facts import Finding, Severity
from llmctl.errors import UsageError
from llmctl.workflows.drift import assert_codes, let_through
from llmctl.workflows.run import RunRequest, begin


class Silent:
    """A teller that nobody listens to."""

    def step(self, text: str) -> None: ...

    def findings(self, findings: object) -> None: ...


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("nonsense", "docs/findings.md"),
        ("python.version", "did you mean python.version.differs?"),
        ("pyton.version.differs", "did you mean python.version.differs?"),
    ],
)
def test_an_unknown_code_is_a_mistake(code: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"no finding has the code {code}") as told:
        begin(RunRequest(source="no such recipe", allow_drift=(code,)), Silent())
    assert hint in told.value.hint


def test_codes_of_rows_rules_and_pairs_are_known() -> None:
    assert_codes(["python.version.differs", "data.files.missing", "compat.cuda.wrong", "network.mtu.wrong",
                  "toolkit.version.unknown", "activation.wrong", "disk.workdir.wrong"])  # fmt: skip


def test_what_is_let_through_is_said() -> None:
    found = [
        Finding(code="python.version.differs", severity=Severity.ERROR, title=""),
        Finding(code="clock.differs", severity=Severity.WARNING, title=""),
    ]
    assert let_through(found, ["python.version.differs", "clock.differs"]) == [
        "--allow-drift: python.version.differs is let through",
        "--allow-drift: clock.differs is not needed: nothing blocks with this code",
    ]
