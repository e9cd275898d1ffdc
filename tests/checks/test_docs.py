"""docs/findings.md is what the rows say, and names every code that a finding can have."""

from __future__ import annotations

import re
from pathlib import Path

from llmctl.checks import catalogue, network
from llmctl.checks.pair_codes import CODES
from llmctl.workflows import check

ROOT = Path(__file__).resolve().parents[2]
ROWS = [row for rows in catalogue.groups().values() for row in rows]


def test_the_page_is_made_from_the_rows() -> None:
    assert (ROOT / "docs/findings.md").read_text(encoding="utf-8") == catalogue.page(), "make docs"


def test_every_code_that_is_written_out_is_described() -> None:
    texts = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (network, check)]
    written = {
        code for text in texts for code in re.findall(r'"((?:network|os|clock|ssh|disk|activation)\.[a-z_.]+)"', text)
    }
    ends = ("twice", "wrong", "differs", "taken", "told")
    assert {code for code in written if code.endswith(ends)} <= CODES.keys()


def test_names_are_lower_case_and_dotted() -> None:
    assert all(re.fullmatch(r"[a-z]+(?:[._][a-z]+)*(?:-[a-z]+)?", row.name) for row in ROWS)


def test_no_name_stands_for_two_rows_of_one_node() -> None:
    common = [row.name for heading, rows in catalogue.groups().items() if "(`" not in heading for row in rows]
    assert len(common) == len(set(common))
    for heading, rows in catalogue.groups().items():
        if "(`" in heading:
            names = [row.name for row in rows]
            assert len(names) == len(set(names))
            assert not set(names) & set(common), heading


def test_every_row_says_what_is_read_and_what_goes_wrong() -> None:
    assert [row.name for row in ROWS if not row.source or not row.why] == []


def test_what_blocks_says_what_to_do() -> None:
    assert [row.name for row in ROWS if row.severity == "error" and not row.remedy] == []
