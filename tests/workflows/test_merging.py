"""Several logs as one stream."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from llmctl.workflows.logs import LogFilter
from llmctl.workflows.merging import LONGEST, lines_of, log_files, merged


def test_lines_go_by_their_times_and_keep_the_order_of_their_log() -> None:
    logs = {
        "a": [
            "[2026-11-21 10:00:01,500] one",
            "  more of one",
            "2026-11-21T10:00:03 three",
            "2026-11-21 10:00:00 late",
        ],
        "b": ["2026-11-21 10:00:02.1 two", "[2026-11-21 10:00:04] four"],
    }
    assert [line[-5:].strip(" ]:0123456789.") for _, line in merged(logs)] == [
        "one",
        "f one",
        "two",
        "three",
        "late",
        "four",
    ]


def test_logs_without_times_come_one_after_the_other() -> None:
    assert list(merged({"b": ["1", "2"], "a": ["3"]})) == [("b", "1"), ("b", "2"), ("a", "3")]


def test_rotated_pieces_come_first_and_other_files_are_no_logs(tmp_path: Path) -> None:
    node = tmp_path / "node1"
    node.mkdir()
    pieces = {
        "launcher.log": "5\n",
        "launcher.log.0-4": "1\n2\n",
        "launcher.log.10-12": "4\n",
        "launcher.log.4-10": "3\n",
    }
    others = {"rank0.log": "x", "rank0.error.json": "{}", "rank0.log.tmp": "y"}
    for name, text in (pieces | others).items():
        (node / name).write_text(text)
    files = log_files(tmp_path)
    assert list(files) == ["node1/launcher.log", "node1/rank0.log"]
    assert list(lines_of(files["node1/launcher.log"])) == ["1", "2", "3", "4", "5"]


def test_a_large_log_fills_no_memory(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    with (tmp_path / "n" / "rank0.log").open("wb") as file:
        file.write((b"x" * 99 + b"\n") * 200_000)
        file.write(b"\xff" * 30_000_000)
    tracemalloc.start()
    count = sum(1 for _ in merged({name: lines_of(paths) for name, paths in log_files(tmp_path).items()}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 200_000 + -(-30_000_000 // LONGEST)
    assert peak < 5_000_000


def test_a_filter_takes_files_by_node_and_rank_and_nothing_but_logs() -> None:
    assert LogFilter(node="n1").takes("logs/n1/launcher.log")
    assert not LogFilter(node="n1").takes("logs/n2/rank0.log")
    assert LogFilter(rank=1).takes("logs/n1/rank1.log")
    assert not LogFilter(rank=1).takes("logs/n1/rank11.log")
    assert not LogFilter().takes("output/steps.jsonl")
    assert [line for line in ("loss 1", "lost") if LogFilter(pattern="loss [0-9]").compiled()(line)] == ["loss 1"]
