"""A curve as one line of text."""

from __future__ import annotations

import numpy as np

from llmctl_reports.values import Column

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def sparkline(values: Column, width: int = WIDTH) -> str:
    """First value, bars, last value; a bar is the mean of its stretch, between the smallest and the largest bar.
    Values are finite; of none there is no line."""
    if not values.size:
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(width, values.size))])
    low, high = float(means.min()), float(means.max())
    share = (means - low) / (high - low) if high > low else np.zeros(means.size)
    bars = "".join(BARS[round(each * (len(BARS) - 1))] for each in share.tolist())
    return f"{values[0]:.4g} {bars} {values[-1]:.4g}"
