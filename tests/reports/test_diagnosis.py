"""A failing comparison tells where in the run the difference lies and what to look at next."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from llmctl_reports.as_json import as_json
from llmctl_reports.diagnosis import Kind
from llmctl_reports.document import blocks, markdown, summary
from llmctl_reports.next_checks import LOOK_AT, SAY, SUSPECTS, diagnosis_line
from llmctl_reports.profiles import Verdict
from llmctl_reports.readers import read_log
from llmctl_reports.values import NON_FINITE, Meta, RunLog
from llmctl_reports.verdict import Comparison, compare

from tests.reports.made_points import points_of

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT.parent / "shared/samples/logs"
COUNT = 200
REFERENCE = 2 + 3 * np.exp(-np.arange(COUNT) / 50)
CHANCE = np.random.default_rng(1).normal(0, 0.002, COUNT)


def found(
    factors: Sequence[float], *, every: int = 1, profile: str = "mindspeed-ci", dropped: int = 0, **meta: object
) -> Comparison:
    """A run whose losses are the reference's times `factors`, with a little noise after the first."""
    losses = REFERENCE * (np.array(factors) + np.where(np.arange(COUNT), CHANCE, 0))
    steps = range(every, COUNT * every + 1, every)
    run, reference = (
        RunLog(
            source=name,
            format="b",
            points=points_of(zip(steps, values, strict=True)),
            dropped={NON_FINITE: dropped} if name == "run" and dropped else {},
            meta=Meta(**(meta if name == "run" else {"learning_rate": 1e-4})),
        )
        for name, values in (("run", losses), ("reference", REFERENCE))
    )
    return compare(run, reference, profile=profile)


def with_spikes(*places: int) -> list[float]:
    return [1.5 if n in places else 1 for n in range(COUNT)]


SLOW = np.linspace(1, 1.2, COUNT).tolist()
CASES = {
    "all of it differs": (found([1.1] * COUNT, profile="seed"), Kind.FIRST_STEP, 1),
    "the first only": (found(with_spikes(0)), Kind.FIRST_STEP, 1),
    "all of it differs, without the first step": (found([1.1] * COUNT, every=10), Kind.DRIFT, 10),
    "slow drift": (found(SLOW, profile="seed"), Kind.DRIFT, 21),
    "one spike": (found(with_spikes(90)), Kind.SPIKES, 91),
    "some spikes": (found(with_spikes(40, 90, 130)), Kind.SPIKES, 41),
    "spikes of ten-step means": (found(with_spikes(40, 90, 130), every=10), Kind.SPIKES, 410),
    "spikes beside a drift": (found([a * b for a, b in zip(SLOW, with_spikes(40), strict=True)]), Kind.DRIFT, 21),
    "breaking away at the end": (found(with_spikes(*range(COUNT - 10, COUNT))), Kind.DRIFT, COUNT - 9),
}


@pytest.mark.parametrize("name", CASES)
def test_the_kind_and_where_it_begins(name: str) -> None:
    comparison, kind, since = CASES[name]
    assert comparison.verdict is Verdict.FAIL
    assert comparison.diagnosis is not None
    assert comparison.diagnosis.kind is kind
    assert comparison.diagnosis.since_step == pytest.approx(since, abs=3 if kind is Kind.DRIFT else 0)


@pytest.mark.parametrize(
    "comparison",
    [found([1.0] * COUNT), found([1.0] * COUNT, dropped=1), found([1.0] * COUNT, profile="seed", dropped=1)],
)
def test_what_fails_no_gate_has_no_kind(comparison: Comparison) -> None:
    assert (comparison.diagnosis, diagnosis_line(comparison, "en")) == (None, "")


def test_the_sentences() -> None:
    drift, spikes = CASES["slow drift"][0], CASES["some spikes"][0]
    line = diagnosis_line(drift, "en")
    assert re.match(
        r"Long-run drift: the first step agrees, errors beyond 2 % begin at step 2\d, 1[89](\.\d)? % over", line
    )
    assert "Look next at: learning rate and its schedule, global batch, optimizer (epsilon" in line
    assert "no common sign" not in line
    line = diagnosis_line(spikes, "en")
    assert line.startswith("Spikes: 3 of 200 points carry 84 % of the error")
    assert "(steps 41, 91, 131)." in line
    assert "first step already" in diagnosis_line(CASES["all of it differs"][0], "en")
    assert "not the first step alone" in diagnosis_line(CASES["all of it differs, without the first step"][0], "en")
    known = found(SLOW, learning_rate=5e-5)
    assert " The logs differ in learning_rate. Look next" in diagnosis_line(known, "en")
    noise = found((1 + 30 * CHANCE * (np.arange(COUNT) > 0)).tolist())
    assert "no common sign" in diagnosis_line(noise, "en")


def test_both_languages_say_the_same() -> None:
    assert SAY["en"].keys() == SAY["zh"].keys()
    for kind in Kind:
        assert len(LOOK_AT["en"][kind]) == len(LOOK_AT["zh"][kind])
        assert SUSPECTS[kind]
    for comparison, _, _ in CASES.values():
        line = diagnosis_line(comparison, "zh")
        assert re.search("[一-鿿]", line)
        assert "{" not in line
        assert not re.search(r"[a-z]{3,} [a-z]{3,}", line.replace("loss scale", "")), line


def test_it_stands_in_every_form_of_a_report() -> None:
    schema = json.loads((ROOT / "docs/report-schema.json").read_text(encoding="utf-8"))
    for comparison, kind, _ in CASES.values():
        told = as_json([comparison.run], [comparison])
        jsonschema.validate(told, schema)
        diagnosis = told["comparisons"][0]["diagnosis"]
        assert diagnosis["kind"] == str(kind)
        assert bool(diagnosis["spike_steps"]) is (kind is Kind.SPIKES)
        for lang in ("en", "zh"):
            for text in (
                markdown("a", blocks(comparison.run, comparison, lang)),
                summary("a", comparison.run, comparison, lang),
            ):
                assert diagnosis_line(comparison, lang)[:20] in text


@pytest.mark.skipif(not LOGS.is_dir(), reason="the sample logs are not there")
def test_real_failures_are_drifts() -> None:
    """Two learning rates: the logs have no first step. DeepSpeed on and off: they have, and it agrees."""
    states, folder = LOGS / "trainer_state", LOGS / "megatron_deepspeed"
    for left, right, first in (
        (states / "chatglm2_epoch50_5e-5", states / "chatglm2_epoch50_1e-4", False),
        (folder / "bigscience_meg3d_n16_ds-on.out", folder / "bigscience_meg3d_n16_ds-off.out", True),
    ):
        told = compare(read_log(left), read_log(right)).diagnosis
        assert told is not None
        assert (told.kind, told.first_step) == (Kind.DRIFT, first)
