"""Curves as PNG, with English labels: no font is needed that a server may lack."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from llmctl_reports.align import Array
from llmctl_reports.compare import Comparison, Report
from llmctl_reports.statistics import NEAR_ZERO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d9730d", "#8a8a8a"
SMOOTHING = 0.9


def loss_picture(report: Report) -> bytes:
    """Loss by step: raw thin, smoothed thick, the reference behind."""
    figure, axes = _canvas()
    sides = [("run", report.run, BLUE)]
    if report.comparison is not None:
        sides.insert(0, ("reference", report.comparison.right, ORANGE))
    for label, log, colour in sides:
        steps = np.array([point.step for point in log.points])
        losses = np.array([point.loss for point in log.points])
        axes.plot(steps, losses, color=colour, linewidth=0.8, alpha=0.45)
        axes.plot(steps, _smooth(losses), color=colour, linewidth=2, label=f"{label} (EMA {SMOOTHING})")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return _png(figure)


def error_picture(compared: Comparison) -> bytes | None:
    """Signed relative error by step, with the band of the 2 % rule; None when every reference loss is near zero."""
    aligned = compared.aligned
    counted = np.abs(aligned.right) >= NEAR_ZERO
    if not counted.any():
        return None
    relative = (aligned.left - aligned.right)[counted] / np.abs(aligned.right[counted]) * 100
    figure, axes = _canvas()
    axes.axhspan(-2, 2, color=GREY, alpha=0.15, linewidth=0, label="±2 %")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.plot(aligned.steps[counted], relative, color=BLUE, linewidth=1.2, label="(run - reference) / reference")
    reach = max(2.5, float(np.abs(relative).max()) * 1.1)
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("relative error of the loss (%)")
    axes.legend(frameon=False, loc="upper right")
    return _png(figure)


def _canvas() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _smooth(values: Array) -> Array:
    """Exponential mean, its start corrected for having no past."""
    smoothed, mean = np.empty_like(values), 0.0
    for number, value in enumerate(values, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        smoothed[number - 1] = mean / (1 - SMOOTHING**number)
    return smoothed


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130)
    return out.getvalue()
