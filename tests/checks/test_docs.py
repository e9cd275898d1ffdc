"""docs/checks.md names every fact and every finding about pairs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmctl.checks import network
from llmctl.checks.python_env import python_rows
from llmctl.checks.rows import host_rows
from llmctl.checks.vendors import VENDORS

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    *host_rows("/w", pdsh=True),
    *python_rows("python3", engine=True),
    *(r for rows in VENDORS.values() for r in rows),
]
NAMES = sorted({row.name for row in ROWS if not row.name.startswith("package.")})
PAIRS = sorted(set(re.findall(r'code="([a-z._]+)"', Path(network.__file__).read_text(encoding="utf-8"))))


@pytest.mark.parametrize("name", [*NAMES, *PAIRS])
def test_it_is_described(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/checks.md").read_text(encoding="utf-8")


def test_names_are_lower_case_and_dotted() -> None:
    assert all(re.fullmatch(r"[a-z]+(?:[._][a-z]+)*(?:-[a-z]+)?", row.name) for row in ROWS)
