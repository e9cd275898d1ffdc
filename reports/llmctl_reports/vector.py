"""A chart as static SVG: what a page shows on paper and without scripts."""

from __future__ import annotations

import math
from html import escape

from llmctl_reports.curves import Chart, Curve, thinned

WIDTH, HEIGHT = 800, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 14, 12, 46
POINTS = 1200
"""More would not be told apart."""
TICKS = 6


def svg(chart: Chart) -> str:
    """The chart; colours come from the classes of the page's style."""
    low_x = min(float(curve.x[0]) for curve in chart.curves)
    high_x = max(float(curve.x[-1]) for curve in chart.curves)
    low_y, high_y = _range(chart)
    across = Scale(low_x, high_x, LEFT, WIDTH - RIGHT)
    up = Scale(low_y, high_y, HEIGHT - BOTTOM, TOP)
    parts = [*_axes(chart, across, up)]
    if chart.band:
        top, bottom = up.of(min(chart.band[0], high_y)), up.of(max(-chart.band[0], low_y))
        box = f'x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{bottom - top:.1f}"'
        parts.append(f'<rect class="band" {box}/><path class="zero" d="M{LEFT} {up.of(0):.1f}H{WIDTH - RIGHT}"/>')
    parts += [_path(curve, across, up) for curve in chart.curves]
    label = escape(f"{chart.title}: {', '.join(curve.name for curve in chart.curves)}")
    return (
        f'<svg class="static" role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}">\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


class Scale:
    """From a value to its place on the paper."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = (low, high) if high > low else (low - 0.5, high + 0.5)
        self.start, self.end = start, end

    def of(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within, about TICKS of them."""
        rough = (self.high - self.low) / TICKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step) + 1)]


def _range(chart: Chart) -> tuple[float, float]:
    low = min(float(curve.y.min()) for curve in chart.curves)
    high = max(float(curve.y.max()) for curve in chart.curves)
    if chart.band:
        reach = 1.1 * max(abs(low), abs(high)) or chart.band[0]
        return -reach, reach
    margin = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - margin, high + margin


def _axes(chart: Chart, across: Scale, up: Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in across.ticks():
        x = across.of(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:.7g}</text>')
    for value in up.ticks():
        y = up.of(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x)}</text>')
    turned = f'transform="rotate(-90 14 {middle:.0f})" text-anchor="middle"'
    parts.append(f'<text x="14" y="{middle:.0f}" {turned}>{escape(chart.y)}</text>')
    return parts


def _path(curve: Curve, across: Scale, up: Scale) -> str:
    xs, ys = thinned(curve.x, curve.y, POINTS)
    places = [f"{across.of(x):.1f} {up.of(y):.1f}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
    if len(places) == 1:
        x, y = places[0].split()
        return f'<circle class="dot {curve.side}" cx="{x}" cy="{y}" r="3"/>'
    return f'<path class="{curve.side} {curve.kind}" d="M{"L".join(places)}"/>'
