"""No file crashes a reader or makes it invent a point, and what says nothing changes nothing."""

from __future__ import annotations

import json
import random
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmctl_reports.errors import ReportError
from llmctl_reports.readers import READERS, read_log
from llmctl_reports.readers.source import LONGEST, PIECE, Source
from llmctl_reports.values import NON_FINITE, RunLog

from tests.reports.reader_properties import check

MEGATRON = " iteration {n}/ 100 | elapsed time per iteration (ms): 500.5 | lm loss: {loss:.6E} | grad norm: 0.500 |"
TITAN = "[titan] 2026 - root - INFO - step: {n}  loss:  {loss:.5f}  grad_norm:  0.5000  memory: 9GiB  tps: 7,282"
CORPUS = Path(__file__).parent / "corpus"
OWN = '{{"record": "step", "step": {n}, "loss": {loss:.5f}}}'
FORMS = {"Megatron": MEGATRON, "torchtitan": TITAN, "HF": "{{'loss': {loss:.4f}, 'step': {n}}}"}


def lines_of(form: str, count: int = 30) -> list[str]:
    return [form.format(n=n, loss=2 + 1 / n) for n in range(1, count + 1)]


def read(data: bytes | str) -> RunLog:
    with tempfile.NamedTemporaryFile(suffix=".log") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
        file.flush()
        return read_log(Path(file.name))


def pairs(log: RunLog) -> list[tuple[int, float]]:
    return list(zip(log.points.step.tolist(), log.points.loss.tolist(), strict=True))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    "change",
    [
        lambda line: f"[3]: {line}",
        lambda line: f"node1: {line}",
        lambda line: f"1:  {line}",
        lambda line: f"\x1b[32m{line}\x1b[0m",
        lambda line: f" 50%|#####     | 5/100 [00:01<00:01]\r{line}",
        lambda line: f"{line}\n{line}",
        lambda line: f"other words\n\n{line}\r",
    ],
    ids=["rank", "node", "pdsh", "colour", "bar", "twice", "around"],
)
def test_what_says_nothing_changes_nothing(form: str, change: object) -> None:
    plain = lines_of(form)
    assert callable(change)
    for end in ("\n", "\r\n"):
        assert pairs(read(end.join(map(change, plain)))) == pairs(read("\n".join(plain)))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_line_less_is_a_point_less(form: str) -> None:
    plain = lines_of(form)
    assert pairs(read("\n".join(plain[:9] + plain[10:]))) == [p for p in pairs(read("\n".join(plain))) if p[0] != 10]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_cut_or_damaged_file_gives_no_other_points(form: str) -> None:
    whole = "\n".join(lines_of(form)).encode()
    known = set(pairs(read(whole)))
    chance = random.Random(3)
    for _ in range(60):
        cut = whole[: chance.randrange(len(whole) // 2, len(whole))]
        found = pairs(read(cut))
        assert set(found[:-1]) <= known  # a number that was cut is still a number
        noise = bytes(chance.randrange(256) for _ in range(200))
        place = whole.index(b"\n", chance.randrange(len(whole) - 200))
        assert set(pairs(read(whole[:place] + b"\n" + noise.replace(b"'", b"") + b"\n" + whole[place:]))) == known


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), st.sampled_from([*FORMS.values(), OWN]))
def test_no_bytes_crash_a_reader(noise: bytes, form: str) -> None:
    lines = [line.encode() for line in lines_of(form, 4)]
    for data in (noise, lines[0] + noise + lines[1], b"\n".join([lines[0], noise, *lines[1:]])):
        with suppress(ReportError):
            log = read(data)
            assert np.isfinite(log.points.loss).all()
            assert (np.diff(log.points.step) > 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_json_crashes_a_reader(value: object) -> None:
    for text in (
        json.dumps({"log_history": [{"step": 1, "loss": value}, value], "max_steps": value}),
        json.dumps({"lm loss": value}) + "\n",
        json.dumps({"current_steps": 1, "loss": value, "elapsed_time": value}) + "\n",
        json.dumps({"record": "step", "step": value, "loss": value}) + "\n",
        json.dumps({"record": "run", "resumed_from_step": value, "seed": value}) + "\n",
        ":::MLLOG " + json.dumps({"key": "train_loss", "value": value, "metadata": {"samples_count": value}}),
        ":::MLLOG " + json.dumps({"key": value, "value": value, "metadata": value}),
        json.dumps({"step": value, "loss": value}) + "\n",
    ):
        with suppress(ReportError):
            assert np.isfinite(read(text).points.loss).all()


FOUND = {
    "nothing at all": b"",
    "a key of no text": b"{'loss': 2.5}\n{'train_runtime': '12', 'trai\xff\xff': 2.5}\n",
    "a column without a name": b"s\t\tstep\n1\t2.5\t3\n",
    "a whole number that is no float": b'{"step": 1, "loss": 1' + b"0" * 400 + b"}\n",
    "a step that came late, again after a resume": b"".join(
        b'{"record": "step", "step": %d, "loss": %d}\n' % pair for pair in ((2, 3), (1, 5))
    )
    + b'{"record": "run", "resumed_from_step": 1}\n{"record": "step", "step": 1, "loss": 7}\n',
    "nested beyond bounds": b'{"step": 1, "loss": ' + b"[" * 100_000,
    "nested beyond bounds, one value": b'{"log_history": ' + b"[" * 100_000,
}
"""What once crashed a reader, or gave points that no log has."""


@pytest.mark.parametrize("what", FOUND)
def test_what_once_crashed_a_reader(what: str) -> None:
    check(FOUND[what])


def test_a_damaged_number_is_none() -> None:
    damaged = [
        MEGATRON.format(n=1, loss=12).replace("1.200000E+01", each) for each in ("1.,E+01", "1,2", "1.2.3", "--1")
    ]
    for line in damaged:
        log = read("\n".join([line, *lines_of(MEGATRON)[1:]]))
        assert (len(log.points), log.dropped) == (29, {NON_FINITE: 1})
    for each in ("1.,5", "1,2", "1.2.3", "--1", "1.5x"):
        log = read("\n".join([TITAN.format(n=1, loss=12).replace("12.00000", each), *lines_of(TITAN)[1:]]))
        assert log.points.step.tolist() == list(range(2, 31))


def test_the_corpus_of_the_fuzzer() -> None:
    """Every file that reached something new, by all readers."""
    assert sum(check(path.read_bytes()) for path in sorted(CORPUS.iterdir())) > 50


def test_a_gigantic_line_is_cut_and_the_rest_is_read() -> None:
    lines = lines_of(MEGATRON)
    log = read("\n".join([*lines[:15], "x" * (LONGEST + PIECE), *lines[15:]]))
    assert len(log.points) == 30


def test_a_loss_beyond_all_bounds_is_not_finite() -> None:
    lines = [*lines_of(MEGATRON), MEGATRON.format(n=31, loss=1e200)]
    log = read("\n".join(lines))
    assert (len(log.points), log.dropped) == (30, {NON_FINITE: 1})


def test_pieces_are_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    data = b"".join(b"%d\r\n" % n if n % 3 else b"%d\r" % n for n in range(400_000))
    path.write_bytes(data)
    pieces = list(Source(path).pieces())
    assert b"".join(pieces) == data
    assert len(pieces) > 2
    assert all(piece[-1:] in b"\r\n" for piece in pieces)


def test_formats_side_by_side_do_not_mix() -> None:
    """The first format that gives points is read; the others add none."""
    mixed = [line for pair in zip(lines_of(MEGATRON), lines_of(TITAN), strict=True) for line in pair]
    log = read("\n".join(mixed))
    assert (log.format, len(log.points)) == ("Megatron", 30)


@pytest.mark.parametrize("name", READERS)
def test_every_reader_keeps_the_contract(name: str, tmp_path: Path) -> None:
    """It knows its own format in the corpus, says its own name, and has nothing to say of other files."""
    reader, path = READERS[name], tmp_path / "a.log"
    heads = [file.read_bytes().decode("utf-8", errors="replace") for file in CORPUS.iterdir()]
    assert any(map(reader.sniff, heads))
    assert not all(map(reader.sniff, heads))
    assert not reader.sniff("")
    for text in ("", "nothing that any trainer says\n", "\x00" * 100):
        path.write_text(text)
        with pytest.raises(ReportError) as error:
            read_log(path, name)
        assert str(path) in error.value.where
