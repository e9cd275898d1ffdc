"""What the dashboard, the table of nodes and the lines of a watched run show."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llmctl.cli.changes import changes
from llmctl.cli.dashboard import dashboard, sparkline
from llmctl.cli.run_table import age, devices, row, size
from llmctl.cli.watching import WAITING, TerminalWatcher
from llmctl.errors import NodeError
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.run.seen import NodeSeen
from llmctl.run.states import State
from llmctl.workflows.status import RunStatus

NOW = 1_000_000.0
GOLDEN = Path(__file__).with_name("golden")
NPUS = tuple({"number": i, "use_percent": 95 + i, "memory_mb": 61 << 10, "total_mb": 64 << 10} for i in range(4))
FIRST: dict[str, Any] = {"number": 1, "started": NOW - 900, "nodes": ["node1", "node2"], "from_step": 0, "lost": []}
FIRST |= {"ended": NOW - 600, "reason": "node_lost", "node": "node2", "rank": None, "exit_code": None, "last_step": 61}
FIRST |= {"automatic": False}


def progress(steps: int) -> Progress:
    made = Progress()
    records: list[dict[str, Any]] = [{"record": "run", "total_steps": 3100, "resumed_from_step": 0}]
    for step in range(1, steps + 1):
        loss = 1 + 3 * math.exp(-step / 60)
        records.append({"record": "step", "step": step, "loss": loss, "step_seconds": 1.2, "tokens": 9000})
    made.feed("\n".join(map(json.dumps, records)))
    return made


def made(nodes: int = 2, *, steps: int = 239, attempts: int = 1, **options: Any) -> RunStatus:
    """A run whose second node does not answer."""
    seen = {}
    for number in range(1, nodes + 1):
        name = f"node{number}"
        seen[name] = NodeSeen(
            node=name,
            answered=NOW,
            state=State.RUNNING,
            heartbeat=NOW - 1,
            heard=1.0,
            step=steps if number == 1 and steps else None,
            loss=1.0558 if number == 1 and steps else None,
            memory_mb=120_000,
            devices=NPUS,
        )
    seen["node2"] = replace(seen["node2"], answered=NOW - 180)
    values: dict[str, Any] = {
        "folder": RunFolder(Path("/runs/baichuan13b_2x8npu-20261121-093000-kqzt")),
        "state": State.RUNNING,
        "nodes": seen,
        "errors": {"node2": NodeError("it does not answer", where="node2")},
        "progress": progress(steps),
        "manifest": {"attempts": [FIRST] * attempts},
        "lines": [("node1 rank0", f"step {step}/3100  loss 1.05  " + "x" * 70) for step in range(20)],
    }
    return RunStatus(**(values | options))


def drawn(status: RunStatus, width: int, height: int = 24) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=True)
    console.print(dashboard(status, now=NOW, width=width, height=height))
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("two", made(attempts=2)),
        ("many", made(64)),
        ("waiting", made(steps=0, errors={}, lines=(), manifest={})),
    ],
)
@pytest.mark.parametrize("width", [80, 120])
def test_the_dashboard_is_the_golden_one(name: str, status: RunStatus, width: int) -> None:
    text = drawn(status, width)
    assert text == (GOLDEN / f"dashboard-{name}-{width}.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 24


def test_a_node_in_trouble_has_a_place_on_a_small_screen() -> None:
    seen = dict(made(64).nodes)
    seen["node60"] = replace(seen["node60"], state=State.FAILED, exit_code=137)
    text = drawn(replace(made(64), nodes=seen), 100, 18)
    assert "node60" in text
    assert "no answer (RUNNING)" in text
    assert "137" in text
    assert len(text.splitlines()) <= 18


def test_a_name_or_line_with_markup_is_text() -> None:
    text = drawn(made(lines=[("node1 rank0", "[red]hot[/red] [/oops]")]), 80)
    assert "[red]hot[/red] [/oops]" in text


def test_the_sparkline_shows_where_the_loss_went() -> None:
    assert sparkline([8.0, 7, 6, 5, 4, 3, 2, 1], 8) == "█▇▆▅▄▃▂▁"
    assert sparkline([8.0, 7, 6, 5, 4, 3, 2, 1], 4) == "█▆▃▁"
    assert sparkline([2.0, 2.0], 9) == "▁▁"
    assert sparkline([1.0, float("nan"), 3.0], 3) == "▁ █"
    assert sparkline([float("inf")], 3) == " "


def test_a_node_that_never_answered_has_no_last_state() -> None:
    assert row(NodeSeen(node="n"), answers=False, now=NOW)[:3] == ("n", "no answer", "-")
    known = NodeSeen(node="n", answered=NOW - 60, heard=2.0, state=State.FAILED, exit_code=1)
    assert row(known, answers=False, now=NOW)[1] == "no answer (FAILED)"
    assert row(known, answers=False, now=NOW)[-2:] == ("1", "1 min")
    assert row(NodeSeen(node="n", answered=NOW), answers=True, now=NOW)[1] == "no supervisor"


def test_units() -> None:
    assert [age(seconds) for seconds in (-1, 3, 61, 7200, 90000)] == ["0 s", "3 s", "1 min", "2 h", "1 d"]
    assert [size(mb) for mb in (8, 2048, 200_000)] == ["8 MiB", "2.0 GiB", "195 GiB"]
    assert devices(NPUS) == "96 % 244/256 GiB"
    assert devices([{"use_percent": None, "memory_mb": 1024, "total_mb": 2048}]) == "1/2 GiB"
    assert devices([]) == "-"


def test_in_a_pipe_only_what_changed_is_told() -> None:
    before = made(attempts=1)
    assert changes(None, before, NOW) == [
        "baichuan13b_2x8npu-20261121-093000-kqzt: RUNNING",
        "step 239/3100  loss 1.0559  7,500 tokens/s  57:13 left",
        "attempt 1 on node1, node2 from step 0: node lost on node2 at step 61",
        "node1: RUNNING",
        "node2: no answer (RUNNING)",
    ]
    assert changes(before, before, NOW) == []
    assert changes(before, replace(before, errors={}), NOW) == ["node2: RUNNING"]
    assert len(changes(before, made(attempts=2), NOW)) == 1


def test_a_bar_waits_for_the_first_step_only_where_it_is_known_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown() -> str:
        out.seek(0)
        out.truncate()
        with watcher:
            return out.getvalue()

    out = io.StringIO()
    monkeypatch.setattr("llmctl.cli.console.console", lambda: Console(file=out, width=100, force_terminal=True))
    watcher = TerminalWatcher("asking the nodes")
    assert "asking the nodes" in shown()
    assert WAITING not in shown()
    watcher.progress(progress(0))
    assert WAITING in shown()
    watcher.progress(progress(3))
    assert "step 3/3100" in shown()
