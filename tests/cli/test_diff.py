"""`llmctl diff`, and the differences beside a report's verdict, of run folders as a run leaves them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import RunLlmctl

RECIPE = "name: a\ncluster: {{device: cpu}}\ntrain: {{learning_rate: {rate}}}\n"


def made(root: Path, name: str, *, rate: str, torch: str) -> Path:
    folder = root / name
    (folder / "env").mkdir(parents=True)
    (folder / "output").mkdir()
    (folder / "recipe.yaml").write_text(RECIPE.format(rate=rate), encoding="utf-8")
    manifest = {"state": "SUCCEEDED", "digests": {"data": "d1"}, "world_size": 2, "global_batch": 4, "git": None}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    facts = [
        {"name": "python.packages", "node": "n1", "value": {"torch": torch, "numpy": "2"}, "error": None},
        {"name": "package.torch", "node": "n1", "value": torch, "error": None},
        {"name": "package.nccl", "node": "n1", "value": f"of {torch}", "error": None},
        {"name": "packages.other", "node": "n1", "value": {"numpy": torch}, "error": None},
        {"name": "python.version", "node": "n1", "value": "3.11", "error": None},
    ]
    (folder / "env/n1.json").write_text(json.dumps(facts))
    steps = [{"record": "run", "global_batch": 4}] + [
        {"record": "step", "step": n, "loss": 1 + 1 / n} for n in range(1, 31)
    ]
    (folder / "output/steps.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return folder


def test_what_differs_between_two_runs(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    left = made(tmp_path, "a-20260101-000000-abcd", rate="1.0e-4", torch="2.13.0")
    right = made(tmp_path, "b-20260101-000000-abcd", rate="2.0e-4", torch="2.12.0")
    found = json.loads(run_llmctl("diff", left, right, "--json", code=0).stdout)
    assert [(each["name"], each["left"], each["right"]) for each in found] == [
        ("recipe.train.learning_rate", "0.0001", "0.0002"),
        ("package.nccl", "of 2.13.0", "of 2.12.0"),
        ("python.packages.torch", "2.13.0", "2.12.0"),
    ]
    shown = run_llmctl("diff", left, right, code=0).stdout
    assert shown.index("learning_rate") < shown.index("torch")
    assert "nothing that both runs tell of differs" in run_llmctl("diff", left, left, code=0).stdout
    assert "no run 'nowhere'" in run_llmctl("diff", left, "nowhere", "--runs", tmp_path, code=2).stderr


def test_a_log_counts_by_what_lies_beside_it(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    run = made(tmp_path, "a-20260101-000000-abcd", rate="1.0e-4", torch="2.13.0")
    log = tmp_path / "there" / "trainer.log"
    log.parent.mkdir()
    log.write_text("")
    told = run_llmctl("diff", run / "output/steps.jsonl", log, code=2).stderr
    assert "nothing tells how this log was made" in told
    (log.parent / "args.json").write_text('{"learning_rate": 0.01, "seed": 1}')
    found = json.loads(run_llmctl("diff", run / "output/steps.jsonl", log, "--json", code=0).stdout)
    assert found == [{"name": "recipe.train.learning_rate", "left": "0.0001", "right": "0.01"}]


def test_the_differences_stand_beside_the_verdict(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    left = made(tmp_path, "a-20260101-000000-abcd", rate="1.0e-4", torch="2.13.0")
    right = made(tmp_path, "b-20260101-000000-abcd", rate="2.0e-4", torch="2.12.0")
    out = tmp_path / "out"
    run_llmctl("report", left, "--compare", right, "-o", out, "--format", "md", code=0)
    text = (out / "report.md").read_text(encoding="utf-8").replace("\\_", "_")
    assert "| recipe.train.learning_rate | 0.0001 | 0.0002 |" in text
    assert "| python.packages.torch | 2.13.0 | 2.12.0 |" in text
