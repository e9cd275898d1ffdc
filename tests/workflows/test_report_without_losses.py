"""A log that holds only the metrics of its end: shown as far as it goes, and the reason why no verdict follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.errors import ExitCode
from llmctl.workflows.report import make_report
from llmctl.workflows.report_sources import Asked

NOTE = {"en": "holds no losses, only the metrics of its end", "zh": "没有loss，只有结束时的指标"}


@pytest.mark.parametrize("lang", NOTE)
def test_a_report_tells_that_a_log_has_no_losses(tmp_path: Path, lang: str) -> None:
    results, curve = tmp_path / "all_results.json", tmp_path / "curve.jsonl"
    results.write_text(json.dumps({"epoch": 1.0, "train_loss": 1.6875, "train_samples_per_second": 2.5}))
    curve.write_text("".join(json.dumps({"step": n, "loss": 3 - n / 100}) + "\n" for n in range(1, 51)))
    for run, reference in ((results, None), (results, curve), (curve, results), (results, results)):
        made = make_report(str(run), Asked(reference=str(reference) if reference else None))
        assert made.exit_code == (ExitCode.INCONCLUSIVE if reference else ExitCode.OK)
        shown = [each for each in made.shown(lang) if isinstance(each, str)]
        assert any(NOTE[lang] in line for line in shown)
        assert any(line.startswith("loss ") for line in shown) == (run == curve)
        assert "1.6875" in str(made.shown(lang)[0])
