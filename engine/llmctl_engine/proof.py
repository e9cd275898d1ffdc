"""The proof that packing changes nothing: rows of the run itself, their samples packed and each by itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from llmctl_engine import group
from llmctl_engine.collate import OWN, Batch, BatchRows, Collator, Padded
from llmctl_engine.config import TrainSettings
from llmctl_engine.errors import EngineError
from llmctl_engine.labels import IGNORED
from llmctl_engine.loss import LabelledLoss

LIMITS = {"fp32": 2e-6, "fp16": 2**-12, "bf16": 2**-9}
"""How far two losses may lie apart, as a share of the loss where that is above 1. The same numbers are added in another
order, which the precision rounds otherwise: ten times what was measured where logits are narrow."""

ELSEWHERE = 8
"""So much wider for fp32 on an accelerator, whose kernels are chosen by the shape of a batch; not measured there."""

SEEN = {"fp32": 0.0, "fp16": 0.25, "bf16": 0.25}
"""Half precision rounds wide logits of few labels further apart than that: there a difference counts only where it is
also above this share of what samples that see each other change."""

ROWS = 2
"""So many rows are tried; more than one where the run has that many in a micro batch."""
SAMPLES = 8
"""So many samples of a row are tried, the last ones, before which most others stand."""


@dataclass(frozen=True)
class Proof:
    """Mean losses over the same labels."""

    samples: int
    labels: int
    packed: float
    separate: float
    joined: float
    """The rows as one text each, where samples see those before them: by so much more the proof sees a mistake."""
    limit: float
    seen: float
    """The share of what samples that see each other change, up to which more than the limit may lie between."""

    @property
    def near(self) -> bool:
        """Whether no more lies between than the limit."""
        return abs(self.packed - self.separate) <= self.limit

    @property
    def holds(self) -> bool:
        """Never where a number is missing."""
        return self.near or abs(self.packed - self.separate) <= self.seen * abs(self.joined - self.separate) < math.inf

    @property
    def shows(self) -> bool:
        """Whether samples that see each other would have been found."""
        return abs(self.joined - self.separate) > self.limit

    def told(self) -> str:
        """A line for the log."""
        blind = "" if self.shows else "; on these rows samples that see each other would not show"
        wide = "" if self.near else f"; more does, but samples that see each other would lose {self.joined:.8g}"
        return (
            f"packed as separate: loss {self.packed:.8g} and {self.separate:.8g} over {self.labels} labels of"
            f" {self.samples} samples, {self.limit:.1e} may lie between{blind}{wide}"
        )


def assert_takes_positions(model: Any) -> None:
    """Raises EngineError for a model that cannot be told where the texts of a row start."""
    own = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "position_ids" not in inspect.signature(own.forward).parameters:
        raise EngineError(
            f"{type(own).__name__} takes no position_ids, which tell where packed samples start", hint=_INSTEAD
        )


def prove(
    forward: Callable[..., Any],
    rows: BatchRows,
    collate: Collator,
    loss: LabelledLoss,
    *,
    settings: TrainSettings,
    device: torch.device,
) -> Proof | None:
    """Compare on the first rows that hold several samples; None where there is no such row. `forward` is the run's
    model, evaluating. Every rank tries the same. Raises EngineError on all of them when it does not hold on one."""
    chosen = _chosen(rows, min(settings.micro_batch, ROWS))
    if not chosen:
        return None

    def measured(made_by: Collator, items: list[dict[str, Any]]) -> float:
        batch = {name: _to(value, device) for name, value in made_by(items).items()}
        return _measure(forward, loss, batch)

    alone = [{"samples": [sample], "index": 0} for item in chosen for sample in item["samples"] if _labels(sample)]
    whole = [{"samples": [_as_one(item["samples"])], "index": 0} for item in chosen]
    labels = sum(_labels(sample) for item in chosen for sample in item["samples"])
    padded = Padded(pad_id=0, multiple=1)  # of one row each, so that nothing is padded
    sums = [
        measured(collate, chosen),
        math.fsum(measured(padded, [item]) for item in alone),
        math.fsum(measured(padded, [item]) for item in whole),
    ]
    told = [[value / labels for value in mine] for mine in group.gather(sums, device).tolist()]
    share = LIMITS[settings.precision] * (ELSEWHERE if settings.precision == "fp32" and device.type != "cpu" else 1)
    proofs = [
        Proof(len(alone), labels, packed, separate, joined, share * max(1.0, abs(separate)), SEEN[settings.precision])
        for packed, separate, joined in told
    ]
    proof = min(proofs, key=_soundness)
    if not math.isfinite(proof.separate):
        raise EngineError(
            f"the loss is {proof.separate} before anything is trained",
            hint="the weights hold such numbers, or they are too large for train.precision: try bf16 or fp32",
        )
    if not proof.holds:
        raise EngineError(
            f"packed samples do not lose what they lose by themselves: {proof.packed:.8g} against"
            f" {proof.separate:.8g} over {labels} labels of {len(alone)} samples, {proof.limit:.1e} may lie between;"
            f" samples that see each other lose {proof.joined:.8g}",
            hint=_INSTEAD,
        )
    return proof


def _soundness(proof: Proof) -> tuple[bool, bool, float]:
    """Least where there is most to say: no number, no proof, a wide difference."""
    return math.isfinite(proof.separate), proof.holds, -abs(proof.packed - proof.separate)


_INSTEAD = "data.packing: none trains every sample in a row of its own, with any model; see docs/packing.md"


def _chosen(rows: BatchRows, count: int) -> list[dict[str, Any]]:
    """The first rows with several samples; only the last samples keep their labels."""
    shared = (number for number, pack in enumerate(rows.packs or ()) if len(pack) > 1)
    items = [rows[number] for number in islice(shared, count)]
    return [
        {**item, "samples": [*map(_quiet, item["samples"][:-SAMPLES]), *item["samples"][-SAMPLES:]]} for item in items
    ]


def _quiet(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {**sample, "labels": [IGNORED] * len(sample["labels"])}


def _as_one(samples: list[Mapping[str, Any]]) -> dict[str, list[int]]:
    return {
        "input_ids": [i for sample in samples for i in sample["input_ids"]],
        "labels": [i for sample in samples for i in (IGNORED, *sample["labels"][1:])],
    }


def _labels(sample: Mapping[str, Any]) -> int:
    return int((np.asarray(sample["labels"][1:]) != IGNORED).sum())


def _measure(forward: Callable[..., Any], loss: LabelledLoss, batch: Batch) -> float:
    loss.expect(batch)
    outputs = forward(**{name: value for name, value in batch.items() if name not in (*OWN, "labels")})
    return float(loss.total(outputs))


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value
