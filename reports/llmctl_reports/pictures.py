"""Charts as PNG, for places that show no page. Imports matplotlib only when something is drawn."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from llmctl_reports.curves import Chart, Kind, charts
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

COLOURS = {"run": "#1f6feb", "reference": "#d9822b"}
QUIET, RULE = "#8a94a3", "#e3e6ea"
STYLES: Mapping[Kind, Mapping[str, Any]] = {
    Kind.LINE: {"linewidth": 1.6},
    Kind.RAW: {"linewidth": 0.6, "alpha": 0.3},
    Kind.SMOOTH: {"linewidth": 1.6},
}
BROAD: Mapping[str, Any] = {"linewidth": 5.0, "alpha": 0.45}
"""The reference is a broad band below the run, so that it shows where both are the same."""
NAMES = ("loss", "errors")


def pictures(run: RunLog, comparison: Comparison | None) -> dict[str, bytes]:
    """PNG of the losses and of their relative errors, by the chart's name; labels are English."""
    return {chart.name: picture(chart) for chart in charts(run, comparison, "en") if chart.name in NAMES}


def picture(chart: Chart) -> bytes:
    """One chart as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    if chart.band:
        limit, name = chart.band
        axes.axhspan(-limit, limit, color=QUIET, alpha=0.15, linewidth=0, label=name)
        axes.axhline(0, color=QUIET, linewidth=0.8)
        reach = 1.15 * max(float(abs(curve.y).max()) for curve in chart.curves) or limit
        axes.set_ylim(-reach, reach)
    for curve in chart.curves:
        broad = curve.kind is Kind.LINE and curve.side == "reference"
        style = BROAD if broad else STYLES[curve.kind]
        label = None if curve.kind is Kind.RAW else curve.name
        axes.plot(
            curve.x, curve.y, color=COLOURS[curve.side], label=label, marker="." if curve.x.size < 3 else "", **style
        )
    axes.set(xlabel=chart.x, ylabel=chart.y, title=chart.title)
    axes.legend(frameon=False)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
