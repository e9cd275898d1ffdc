"""Where a run stands, by its step records."""

from __future__ import annotations

import json

import pytest

from llmctl.cli.watching import progress_line
from llmctl.run.records import Progress


def progress(*steps: tuple[float, int]) -> Progress:
    """After steps of (seconds, tokens), of ten."""
    made = Progress()
    made.feed(json.dumps({"record": "run", "total_steps": 10, "resumed_from_step": 0}))
    for number, (seconds, tokens) in enumerate(steps, start=1):
        made.feed(json.dumps({"record": "step", "step": number, "loss": 1, "step_seconds": seconds, "tokens": tokens}))
    return made


def test_speed_and_time_left_are_of_the_same_pace() -> None:
    made = progress((2.0, 1000), (1.0, 4000))
    assert made.tokens_per_second == pytest.approx(1300 / 1.9)
    assert made.seconds_left == pytest.approx(8 * 1.9)
    assert progress_line(made) == "step 2/10  loss 1.0000  684 tokens/s  0:15 left"


def test_a_run_that_ended_early_has_no_time_left() -> None:
    made = progress((2.0, 1000))
    made.ended = True
    assert made.seconds_left is None
    assert progress_line(made) == "step 1/10  loss 1.0000  500 tokens/s"
