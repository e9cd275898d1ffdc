"""What lies beside a log of another trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.workflows.beside import told_beside
from llmctl.workflows.report import make_report
from llmctl.workflows.report_sources import Asked

REFERENCE = Path(__file__).resolve().parents[3] / "shared/reference/llamafactory"


def test_files_beside_a_log_and_their_order(tmp_path: Path) -> None:
    log = tmp_path / "trainer_log.jsonl"
    assert told_beside(log) is None
    (tmp_path / "training_args.bin").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "ran") + b"'\ntR.")
    assert told_beside(log) is None
    assert not (tmp_path / "ran").exists()
    (tmp_path / "trainer_state.json").write_text('{"max_steps": 30, "log_history": []}')
    (tmp_path / "config.json").write_text('{"hidden_size": 64}')
    (tmp_path / "args.json").write_text('{"learning_rate": 1e-5}')
    told = told_beside(log)
    assert told is not None
    assert (told.recipe, told.run, told.facts, told.whole) == (
        {"train": {"learning_rate": 1e-5}},
        {"total_steps": 30},
        {"model.hidden_size": 64},
        False,
    )
    (tmp_path / "training_args.yaml").write_text("learning_rate: 2.0e-5\n")
    told = told_beside(tmp_path)
    assert told is not None
    assert told.recipe == {"train": {"learning_rate": 2e-5}}


def test_peft_tells_of_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["v_proj", "q_proj"]}'
    )
    told = told_beside(tmp_path / "a.log")
    assert told is not None
    lora = {"r": 8, "alpha": 16, "targets": ["v_proj", "q_proj"]}
    assert told.recipe == {"train": {"method": "lora", "lora": lora}}


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b"{", b"a: [", b"- x"])
def test_what_cannot_be_read_tells_nothing(tmp_path: Path, content: bytes) -> None:
    for name in ("args.json", "train.yaml", "config.json", "trainer_state.json"):
        (tmp_path / name).write_bytes(content)
    assert told_beside(tmp_path / "a.log") is None


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared is not beside this checkout")
def test_two_runs_of_llamafactory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    full, lora = (str(REFERENCE / name / "trainer_log.jsonl") for name in ("sft_full", "sft_lora"))
    made = make_report(lora, Asked(reference=full))
    assert ("recipe.train.method", "lora", "full") in made.differences
    shown = made.shown("en")
    assert any(not isinstance(part, str) and made.differences[0] in part.rows for part in shown)


def test_two_logs_in_one_folder_do_not_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "args.json").write_text(json.dumps({"learning_rate": 1e-5}))
    for name in ("a.log", "b.log"):
        Path(name).write_text("".join(f"{{'loss': {2 + 1 / n}, 'epoch': {n}}}\n" for n in range(1, 20)))
    assert make_report("a.log", Asked(reference="b.log")).differences == ()
