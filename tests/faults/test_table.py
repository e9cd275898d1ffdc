"""docs/reliability.md and the tests of faults have the same rows, and say the same of them."""

from __future__ import annotations

import pytest

from tests.faults.table import Row, rows_of_page, rows_of_tests

LEAST = 25


def test_page_and_tests_have_the_same_rows() -> None:
    page = [row.name for row in rows_of_page()]
    assert sorted(page) == sorted(rows_of_tests())
    assert len(page) == len(set(page)) >= LEAST


@pytest.mark.parametrize("row", rows_of_page(), ids=lambda row: row.name)
def test_code_and_bound_of_a_row_are_those_of_its_test(row: Row) -> None:
    test = rows_of_tests()[row.name]
    if test.codes:
        assert int(row.code) in test.codes
    if test.within:
        assert int(row.within.removesuffix(" s")) in test.within
