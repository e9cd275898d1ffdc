"""The JSON form that programs may rely on (docs/report-schema.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llmctl_reports.diagnosis import Diagnosis, Kind
from llmctl_reports.next_checks import look_at
from llmctl_reports.statistics import Bias
from llmctl_reports.throughput import throughput
from llmctl_reports.values import RunLog
from llmctl_reports.verdict import Comparison

SCHEMA = 1


def as_json(runs: Sequence[RunLog], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """All numbers, unrounded; what is absent is None."""
    return {
        "schema": SCHEMA,
        "runs": [_run(log) for log in runs],
        "comparisons": [_comparison(each) for each in comparisons],
    }


def _run(log: RunLog) -> dict[str, Any]:
    steps, losses = log.points.step.tolist(), log.points.loss.tolist()
    return {
        "source": log.source,
        "format": log.format,
        "points": len(log.points),
        "segments": log.segments,
        "segment": log.segment,
        "first": {"step": steps[0], "loss": losses[0]} if steps else None,
        "last": {"step": steps[-1], "loss": losses[-1]} if steps else None,
        "final": asdict(log.final),
        "throughput": asdict(throughput(log)),
        "dropped": dict(log.dropped),
        "allowed_findings": list(log.allowed_findings),
        "restarts": [asdict(restart) for restart in log.restarts],
    }


def _comparison(each: Comparison) -> dict[str, Any]:
    alignment, numbers = each.alignment, each.statistics
    return {
        "run": each.run.source,
        "reference": each.reference.source,
        "noise": asdict(each.noise) | {"sources": list(each.noise.sources)} if each.noise else None,
        "alignment": {
            "key": alignment.key,
            "common": int(alignment.places.size),
            "only_left": alignment.only_left,
            "only_right": alignment.only_right,
            "window": alignment.window,
            "window_left": alignment.window_left,
            "window_right": alignment.window_right,
            "near_zero": numbers.near_zero,
            "differences": {name: list(pair) for name, pair in alignment.differences.items()},
            "notes": list(alignment.notes),
        },
        "abs_error": asdict(numbers.abs_error),
        "rel_error": asdict(numbers.rel_error),
        "mean_loss": {
            "left": numbers.mean_left,
            "right": numbers.mean_right,
            "rel_error": numbers.mean_rel_error,
        },
        "first_rel_error": numbers.first_rel_error,
        "tail_rel_error": numbers.tail_rel_error,
        "p95_rel_error": numbers.p95_rel_error,
        "grad_norm_rel_error": numbers.grad_norm_rel_error,
        "bias": _bias(numbers.bias),
        "gated_bias": _bias(numbers.gated_bias),
        "profile": each.profile,
        "checks": [asdict(check) | {"result": str(check.result)} for check in each.checks],
        "verdict": str(each.verdict),
        "diagnosis": _diagnosis(each.diagnosis),
    }


def _diagnosis(found: Diagnosis | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "kind": str(found.kind),
        "first_step": found.first_step,
        "since_step": found.since_step,
        "spikes": found.spikes if found.kind is Kind.SPIKES else 0,
        "spike_steps": list(found.spike_steps) if found.kind is Kind.SPIKES else [],
        "spike_share": found.spike_share,
        "look_at": list(look_at(found, "en")),
    }


def _bias(bias: Bias) -> dict[str, float | None]:
    return {"mean": bias.mean, "low": bias.low, "high": bias.high}
