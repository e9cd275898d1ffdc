"""Points for tests, from plain numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from llmctl_reports.values import Points


def points_of(pairs: Iterable[tuple[int, float]], **columns: Iterable[float]) -> Points:
    """(step, loss) pairs with further columns."""
    steps, losses = zip(*pairs, strict=True)
    more = {name: np.array(list(column)) for name, column in columns.items()}
    return Points(step=np.array(steps), loss=np.array(losses, dtype=np.float64), **more)
