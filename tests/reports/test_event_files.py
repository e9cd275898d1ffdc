"""TensorBoard's event files: both spellings of a scalar, damage, several files, and no extra."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from llmctl_reports.errors import ReportError
from llmctl_reports.explaining import explain
from llmctl_reports.readers import read_log
from llmctl_reports.values import BROKEN, NON_FINITE, SUPERSEDED, Final

from tests.reports.event_files import event, event_file, record

TWINS = Path(__file__).parent / "twins"
NAME = "events.out.tfevents.1700000000.node1.7.0"


@pytest.mark.parametrize("kind", ["numbers", "tensors"])
def test_files_that_tensorboard_wrote(kind: str) -> None:
    """By TensorBoard 2.21: scalars as the writer of PyTorch makes them, and as that of TensorFlow 2."""
    log = read_log(TWINS / f"events.out.tfevents.1700000000.{kind}")
    assert (log.format, log.dropped) == ("TensorBoard", {})
    steps = range(1, 13)
    assert log.points.step.tolist() == list(steps)
    wanted = {
        "loss": [3 - n / 10 for n in steps],
        "learning_rate": [1e-4 / n for n in steps],
        "grad_norm": [1 + n / 8 for n in steps],
        "tokens_seen": [64 * n for n in steps],
    }
    for name, values in wanted.items():
        assert getattr(log.points, name) == pytest.approx(values, rel=1e-6)
    assert log.points.seconds is not None
    assert log.points.seconds[1:] == pytest.approx([0.5] * 11)
    end = log.final
    assert (end.train_loss, end.train_runtime, end.epochs) == (pytest.approx(2.35), 6, 1)
    assert (end.train_samples_per_second, end.train_steps_per_second) == (16, 2)
    assert "train/mem gb" in log.unused
    assert any("train/mem gb" in line for line in explain(log))


@pytest.mark.parametrize(
    "tag", ["loss", "train/loss", "Loss/train", "lm loss", "lm-loss", "train_loss", "train/train_loss"]
)
def test_tags_of_the_loss(tmp_path: Path, tag: str) -> None:
    (tmp_path / NAME).write_bytes(event_file(event(1, **{tag: 2.5, "eval/loss": 9.0}), event(2, **{tag: 2.25})))
    log = read_log(tmp_path)
    assert (log.points.loss.tolist(), log.final, log.unused) == ([2.5, 2.25], Final(), ("eval/loss",))


def losses(folder: Path, data: bytes) -> tuple[list[float], dict[str, int]]:
    (folder / NAME).write_bytes(data)
    log = read_log(folder / NAME)
    return log.points.loss.tolist(), dict(log.dropped)


def test_damage_costs_the_records_that_it_hits(tmp_path: Path) -> None:
    events = [event(n, loss=n / 4) for n in range(1, 9)]
    whole = event_file(*events)
    end = len(event_file(*events[:3]))
    size = len(record(events[3]))
    for place, left, broken in (
        (end + size - 6, [1, 2, 3, 5, 6, 7, 8], 1),  # in a value
        (end + size - 1, [1, 2, 3, 5, 6, 7, 8], 1),  # in its checksum
        (end + 1, [1, 2, 3], 1),  # in a length: nobody knows where the next record begins
        (end + 9, [1, 2, 3], 1),  # in the checksum of a length
    ):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        assert losses(tmp_path, damaged) == ([n / 4 for n in left], {BROKEN: broken})
    for cut in range(end + 1, end + size):
        assert losses(tmp_path, whole[:cut]) == ([0.25, 0.5, 0.75], {BROKEN: 1})
    strange = event_file(*events[:3], b"\x0f\xff", event(4, loss=float("nan")), *events[4:])
    assert losses(tmp_path, strange) == ([n / 4 for n in (1, 2, 3, 5, 6, 7, 8)], {BROKEN: 1, NON_FINITE: 1})


def test_the_files_of_a_folder_go_on_where_the_one_before_ended(tmp_path: Path) -> None:
    folder = tmp_path / "runs/Nov21_node1"
    folder.mkdir(parents=True)
    later = event_file(*(event(n, train__loss=n / 4, train__lr=0.5) for n in range(3, 6)))
    (folder / "events.out.tfevents.1700000900.node1.7.0").write_bytes(later)
    (folder / "events.out.tfevents.999999999.node1.6.0").write_bytes(
        event_file(*(event(n, train__loss=n) for n in range(1, 5)))
    )
    log = read_log(tmp_path)
    assert log.points.loss.tolist() == [1, 2, 0.75, 1, 1.25]
    assert log.dropped == {SUPERSEDED: 2}
    assert read_log(folder / "events.out.tfevents.1700000900.node1.7.0").points.loss.tolist() == [0.75, 1, 1.25]
    (tmp_path / "runs/Nov22_node1").mkdir()
    (tmp_path / "runs/Nov22_node1" / NAME).write_bytes(later)
    with pytest.raises(ReportError, match="several runs") as error:
        read_log(tmp_path)
    assert "Nov22_node1" in error.value.hint


def test_without_the_extra_the_error_tells_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(ReportError, match="extra") as error:
        read_log(TWINS / "events.out.tfevents.1700000000.numbers")
    assert error.value.hint == "pip install 'llmctl[tensorboard]'"


def test_events_without_a_loss_are_no_log(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no losses") as error:
        losses(tmp_path, event_file(event(1, accuracy=0.5)))
    assert "TensorBoard" in error.value.why
