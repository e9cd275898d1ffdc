"""Many runs in one table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from llmctl_reports.values import Final, Meta
from llmctl_reports.verdict import compare
from llmctl_reports.zoo import HEADINGS, name_of, zoo_table

from tests.reports.made_points import made_log

REFERENCE = replace(made_log(40), source="logs/reference.log")
NPU = Meta(device="npu", global_batch=8, sequence_length=1024, world_size=2)
NEAR = replace(
    made_log(40, 1.001, meta=NPU, final=Final(epochs=2, train_loss=1.25)), source="runs/near-a/output/steps.jsonl"
)
FAR = replace(made_log(40, 1.1), source="runs/far-b/trainer_log.jsonl")


@pytest.mark.parametrize(("lang", "last"), [("en", "Reference: reference.log"), ("zh", "参考: reference.log")])
def test_a_row_a_run_and_the_reference_last(lang: str, last: str) -> None:
    table = zoo_table([NEAR, FAR], [compare(NEAR, REFERENCE), compare(FAR, REFERENCE)], lang)
    assert len(table.headings) == len(HEADINGS["en"])
    near, far, reference = table.rows
    assert near[:7] == ("near-a", "NPUs", "2.0", "1.2500", "80", "10", "40960")
    assert (near[7], near[9]) == ("0.1 %", "PASS")
    assert near[8].startswith("+0.1 % (+0.")
    assert (far[0], far[1], far[7], far[9]) == ("far-b", "-", "10 %", "FAIL")
    assert reference == (last, "-", "-", "-", "-", "10", "-", "-", "-", "-")


def test_without_a_reference_the_table_ends_with_the_throughput() -> None:
    table = zoo_table([NEAR, FAR], [], "en")
    assert table.headings[-1] == "tokens/s/p"
    assert [row[0] for row in table.rows] == ["near-a", "far-b"]
    assert {len(row) for row in table.rows} == {7}


def test_too_few_points_leave_dashes_and_the_verdict() -> None:
    few = replace(made_log(5), source="few.log")
    row = zoo_table([few], [compare(few, REFERENCE)], "en").rows[0]
    assert row[7:] == ("-", "-", "INCONCLUSIVE")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("runs/a-1/output/trainer_state.json", "a-1"),
        ("trainer_log.jsonl", "trainer_log.jsonl"),
        ("a/npu.log", "npu.log"),
        ("output/steps.jsonl", "steps.jsonl"),
    ],
)
def test_a_run_is_named_by_its_folder_or_file(source: str, name: str) -> None:
    assert name_of(replace(NEAR, source=source)) == name
