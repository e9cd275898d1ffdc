"""Published tables whose arithmetic is right, and some where it is not."""

from __future__ import annotations

import pytest
from llmctl_reports.errors import ReportError
from llmctl_reports.table_check import slips, table_rows

HEAD = (
    "| 设备 | 模型 | 迭代数 | 样本吞吐 (samples/s) | tokens吞吐 (tokens/s/p) | 单步迭代时间 (s/step) |\n"
    "|:--:|--|--|--|--|--|\n"
)


def table(*rows: tuple[str, str, str]) -> str:
    return "words\n\n" + HEAD + "\n".join(f"| NPUs | m | 1000 | {a} | {b} | {c} |" for a, b, c in rows) + "\n\nwords"


def test_a_table_whose_numbers_were_cut_and_rounded_is_right() -> None:
    """Baichuan2-7B: 32 samples of 4096 tokens a step on 8 devices, tokens cut, samples rounded."""
    rows = table_rows(table(("4.59", "2349", "6.973"), ("5.40", "2769", "5.915")))
    assert [row.line for row in rows] == [5, 6]
    assert slips(rows) == []
    assert slips(rows, 4096 / 8) == []


def test_the_row_that_does_not_fit_the_others_is_found() -> None:
    """Baichuan2-13B at 4096 tokens on 8 devices: 1.83 samples/s are 937 tokens/s/p, 1310 were printed."""
    text = table(("5.2", "2664", "-"), ("5.24", "2685", "-"), ("2.37", "1213", "-"), ("1.83", "1310", "-"))
    (slip,) = slips(table_rows(text))
    assert slip.row.line == 8
    assert "= 937 tokens/s/p, the table says 1310" in slip.what


def test_one_row_alone_needs_the_sequence_length() -> None:
    rows = table_rows(table(("1.83", "1310", "-")))
    assert slips(rows) == []
    assert len(slips(rows, 4096 / 8)) == 1


def test_no_table_is_told() -> None:
    with pytest.raises(ReportError, match="no table with throughputs"):
        table_rows("# words\n| a | b |\n|--|--|\n| 1 | 2 |\n")
