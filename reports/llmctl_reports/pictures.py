"""Loss curves and relative errors as PNG, with English labels. Imports matplotlib only when something is drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmctl_reports.profiles import MEAN_LIMIT
from llmctl_reports.statistics import relative_errors
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN_COLOUR, REFERENCE_COLOUR, QUIET = "#1f6feb", "#d9822b", "#8a94a3"
SMOOTHING = 0.9
MANY_POINTS = 200


def loss_picture(run: RunLog, reference: RunLog | None) -> bytes:
    """PNG of the losses; with many points the raw ones thin, a moving average thick."""
    figure = _figure()
    axes = figure.subplots()
    curves = (
        [("run", RUN_COLOUR, run)]
        if reference is None
        else [
            ("reference", REFERENCE_COLOUR, reference),
            ("run", RUN_COLOUR, run),
        ]
    )
    smooth = any(len(log.points) > MANY_POINTS for _, _, log in curves)
    for name, colour, log in curves:
        steps, losses = log.points.step.tolist(), log.points.loss.tolist()
        # The reference is a broad band below the run, so that it shows where both are the same.
        style: dict[str, Any] = {"color": colour, "linewidth": 1.6}
        if name == "reference":
            style |= {"linewidth": 5.0, "alpha": 0.45}
        if smooth:
            axes.plot(steps, losses, color=colour, linewidth=0.6, alpha=0.3)
            axes.plot(steps, smoothed(losses), label=f"{name} (EMA {SMOOTHING})", **style)
        else:
            axes.plot(steps, losses, label=name, marker="." if len(steps) < 3 else "", **style)
    axes.set(xlabel="step", ylabel="loss", title="Training loss")
    axes.legend(frameon=False)
    return _png(figure)


def error_picture(comparison: Comparison) -> bytes:
    """PNG of the signed relative error of every common point, with the limit of the mean as a band."""
    figure = _figure()
    axes = figure.subplots()
    steps, errors = relative_errors(comparison.alignment)
    axes.axhspan(-100 * MEAN_LIMIT, 100 * MEAN_LIMIT, color=QUIET, alpha=0.15, linewidth=0, label="within ±2 %")
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.plot(steps, 100 * errors, color=RUN_COLOUR, linewidth=1.2, marker=".", markersize=3)
    reach = (115 * float(abs(errors).max()) if errors.size else 0.0) or 100 * MEAN_LIMIT
    axes.set_ylim(-reach, reach)
    axes.set(xlabel="step", ylabel="relative error (%)", title="Relative error of the loss, run against reference")
    axes.legend(frameon=False)
    return _png(figure)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average with its start corrected; for the eye only."""
    out: list[float] = []
    total = weight = 0.0
    for value in values:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        out.append(total / weight)
    return out


def _figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.grid(color="#e3e6ea", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
