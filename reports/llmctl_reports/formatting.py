"""Numbers as a report writes them; what is absent is a dash."""

from __future__ import annotations

NOTHING = "-"


def percent(value: float | None) -> str:
    """A share as a percentage of three significant digits."""
    return NOTHING if value is None else f"{100 * value:.3g} %"


def signed_percent(value: float) -> str:
    """A signed percentage of three significant digits: small is told as small, not as zero."""
    return f"{100 * value:+.3g} %"


def significant(value: float | None) -> str:
    """Six significant digits."""
    return NOTHING if value is None else f"{value:.6g}"


def error(value: float | None) -> str:
    """Four decimals; what would round to nothing is told by its size, since 0.0000 would claim that it is nothing."""
    return f"{value:.1e}" if value and abs(value) < 5e-5 else fixed(value, 4)


def fixed(value: float | None, digits: int) -> str:
    """So many decimals."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def short(value: float | None) -> str:
    """Three decimals without trailing zeros, as trainers print it."""
    return NOTHING if value is None else f"{round(value, 3):g}" if abs(value) < 1000 else f"{value:.3f}"
