"""Points for tests, from plain numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from llmctl_reports.values import Points, RunLog


def points_of(pairs: Iterable[tuple[int, float]], **columns: Iterable[float]) -> Points:
    """(step, loss) pairs with further columns."""
    steps, losses = zip(*pairs, strict=True)
    more = {name: np.array(list(column)) for name, column in columns.items()}
    return Points(step=np.array(steps), loss=np.array(losses, dtype=np.float64), **more)


HOSTILE = "<script>alert('1')</script>|日志.log"


def made_log(count: int, factor: float = 1.0, **more: object) -> RunLog:
    """A log of a falling loss under a hostile name."""
    points = points_of(((n, factor * (1 + 3 / n)) for n in range(1, count + 1)), seconds=[0.1] * count)
    return RunLog(source=HOSTILE, format="steps.jsonl", points=points, **more)  # type: ignore[arg-type]
