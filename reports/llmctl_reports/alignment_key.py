"""What the points of two logs are aligned by."""

from __future__ import annotations

import numpy as np

from llmctl_reports.tokens_axis import tokens_seen
from llmctl_reports.values import RunLog

ALIKE = 0.1
"""How far the mean tokens or epochs of a step may lie apart in logs of one global batch."""
BY_TOKENS = "compared at equal tokens"


def chosen_key(left: RunLog, right: RunLog) -> tuple[str | None, int, int, str]:
    """(key, units of a step on the left, on the right, what the reader must know)."""
    here, there = left.meta.global_batch, right.meta.global_batch
    varying = left.meta.varying_batch or right.meta.varying_batch
    tokens = _tokens_of_a_step(left), _tokens_of_a_step(right)
    alike = None in tokens or _alike(*tokens)
    if here is None or there is None:
        unknown = " and ".join(name for name, known in (("the run", here), ("the reference", there)) if known is None)
        why = f"the global batch of {unknown} is not in the log"
        if alike or _alike(_epochs_of_a_step(left), _epochs_of_a_step(right)):
            return "step", 1, 1, f"{why}: taken to be equal"
        return "tokens", 1, 1, f"{why}, the tokens of a step differ: {BY_TOKENS}"
    if here == there and (alike or not varying):
        return "step", 1, 1, ""
    if not varying:
        return "samples", here, there, f"the global batches differ ({here} and {there}): compared at equal samples"
    why = f"the global batches differ ({here} and {there}) and change within a log"
    if here == there:
        why = "the global batch changes within a log, the tokens of a step differ"
    return (None, 1, 1, f"{why}: nothing to align by") if None in tokens else ("tokens", 1, 1, f"{why}: {BY_TOKENS}")


def _tokens_of_a_step(log: RunLog) -> float | None:
    """The mean over the steps up to the last one whose count is known."""
    seen = tokens_seen(log.points)
    if seen is None:
        return None
    last = np.flatnonzero(np.isfinite(seen))[-1]
    return float(seen[last] / log.points.step[last]) if log.points.step[last] > 0 else None


def _epochs_of_a_step(log: RunLog) -> float | None:
    """With the same data it tells of the same global batch."""
    epochs = log.points.epoch
    if epochs is None or not len(log.points) or not epochs[-1] > 0 or log.points.step[-1] <= 0:
        return None
    return float(epochs[-1] / log.points.step[-1])


def _alike(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= ALIKE * max(one, other)
