"""Prepared folders: the same bytes by any number of processes, whole or refused, made by one rank for all of a node."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmctl_engine import once, prepared
from llmctl_engine.config import EngineConfig
from llmctl_engine.encoding import SPLITS, Pieces, encoder_of
from llmctl_engine.errors import EngineError, Stopped
from llmctl_engine.parts import key_of, parts_of

from tests.engine.runs import rows, small_config, write_data


def quiet(done: int, total: int | None) -> None:
    """Hears nothing."""


def test_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    with prepared.write(folder) as writer:
        writer.add(np.array([1, 2, 3, 4]), np.array([-100, 2, 3, 4]), np.array([3, 1]), ["a row 1", "a row\n2"])
        writer.add(np.array([5, 6]), np.array([-100, 6]), np.array([2]), ["a row 3"])
        assert writer.close().tolist() == [3, 4, 6]
        writer.packs(prepared.Ragged.of([[2, 0], [1]]))
        writer.finish({"key": "k", "examples": 3, "tokens": 6, "packs": 2})
    found = prepared.load(folder)
    assert [ids.tolist() for ids in found.ids] == [[1, 2, 3], [4], [5, 6]]
    assert found[2]["labels"].tolist() == [-100, 6]
    assert found.ids.lengths().tolist() == [3, 1, 2]
    assert found.packs is not None
    assert [pack.tolist() for pack in found.packs] == [[2, 0], [1]]
    assert [found.place(number) for number in range(3)] == ["a row 1", "a row 2", "a row 3"]
    assert found.ids.flat.dtype == found.labels.flat.dtype == np.int32
    assert not found.ids.flat.flags.writeable
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "prepared.json").unlink(), "prepared.json is missing"),
        (lambda folder: (folder / "labels.npy").unlink(), "labels.npy is missing"),
        (lambda folder: os.truncate(folder / "ids.npy", 130), "ids.npy has other bytes"),
        (lambda folder: (folder / "prepared.json").write_text('{"schema": 1}'), "has the form 1"),
        (lambda folder: (folder / "prepared.json").write_text("{"), "cannot be read"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(harm: Any, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    with prepared.write(folder) as writer:
        writer.add(np.array([1, 2]), np.array([1, 2]), np.array([2]), ["a row 1"])
        writer.close()
        writer.finish({"key": "k", "examples": 1, "tokens": 2, "packs": None})
    assert prepared.load(folder).packs is None
    harm(folder)
    with pytest.raises(EngineError, match=words):
        prepared.load(folder)


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no"), prepared.write(tmp_path / "p"):
        raise EngineError("no")
    assert not list(tmp_path.iterdir())


def test_what_killed_makers_left_is_cleared(tmp_path: Path) -> None:
    gone = multiprocessing.get_context("fork").Process(target=int)
    gone.start()
    gone.join(120)
    start = f".p.{os.uname().nodename}."
    for name in (f"{start}{gone.pid}", f"{start}{os.getppid()}", f".p.elsewhere.{gone.pid}", f"{start}x"):
        (tmp_path / name).mkdir()
    with prepared.write(tmp_path / "p") as writer:
        writer.add(np.array([1, 2]), np.array([1, 2]), np.array([2]), ["a row 1"])
        writer.close()
        writer.finish({"key": "k", "examples": 1, "tokens": 2, "packs": None})
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"p", f"{start}{os.getppid()}", f".p.elsewhere.{gone.pid}", f"{start}x"}


def test_the_key_follows_from_all_that_matters(tmp_path: Path) -> None:
    config = small_config(tmp_path)

    def key(changed: EngineConfig) -> str:
        return key_of(parts_of(changed))

    first = key(config)
    data, model = config.data, config.model
    others = [
        key(replace(config, data=replace(data, **change)))
        for change in ({"cutoff_len": 63}, {"packing": "naive"}, {"loss_on": "all"}, {"fill": {"a": "b"}},
                       {"max_samples": 3}, {"cutoff_rule": "lf02"}, {"broken_rows": "skip"})
    ]  # fmt: skip
    others += [key(replace(config, model=replace(model, template="alpaca@0.9.5")))]
    others += [key(replace(config, model=replace(model, init={**(model.init or {}), "vocab_size": 700})))]
    assert len({first, *others}) == len(others) + 1
    same = [
        replace(config, output_dir="elsewhere", train=replace(config.train, seed=7, learning_rate=1.0)),
        replace(config, model=replace(model, init={**(model.init or {}), "hidden_size": 64})),
        replace(config, data=replace(data, cutoff_rule="lf09", mix="concat")),
    ]
    assert {key(config) for config in same} == {first}
    write_data(Path(data.dir), [*rows(47), {"instruction": "Q", "output": "A"}])
    assert key(config) != first


@pytest.mark.engine
def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmctl_engine import pool, prepare

    config = small_config(tmp_path)
    config = replace(config, data=replace(config.data, packing="exact"))
    monkeypatch.setattr(prepare, "BYTES_A_WORKER", 1000)
    monkeypatch.setattr(pool, "ROWS", 5)
    made = [prepare.prepare(config, tmp_path / f"by{workers}", workers=workers, progress=quiet) for workers in (1, 2)]
    assert made[0].about == made[1].about
    assert made[0].folder.name == made[1].folder.name == made[0].key[:16]
    assert made[0].packs is not None
    assert sorted(made[0].packs.flat.tolist()) == list(range(48))
    assert not [process for process in multiprocessing.active_children() if process.is_alive()]


@pytest.mark.engine
def test_preparing_by_itself_tells_lines_and_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmctl_engine import prepare
    from llmctl_engine.config import to_json

    monkeypatch.setattr(prepare, "leave_out_torch", lambda model: None)
    config = small_config(tmp_path)
    (tmp_path / "engine.json").write_text(to_json(config))
    words = [str(tmp_path / "engine.json"), "--to", str(tmp_path / "cache"), "--samples", "1"]
    assert prepare.main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-3] == {"done": 48, "total": 48}
    assert lines[-2]["place"] == "numbers row 1"
    assert [carries for _, carries in lines[-2]["pieces"]] == [False, True]
    assert lines[-2]["pieces"][0][0].startswith("Human: Name the number after 0.")
    assert lines[-1] == {"prepared": str(prepared.load(lines[-1]["prepared"]).folder)}
    assert prepare.main(words) == 0  # it is there
    assert [*json.loads(capsys.readouterr().out.splitlines()[0])] == ["place", "tokens", "label_tokens", "pieces"]
    write_data(Path(config.data.dir), [{"instruction": "Q"}])
    assert prepare.main(words) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "error: numbers: 1 row with no output (1)\nnext: mend them, or set data.broken_rows: skip\n"


@pytest.mark.engine
def test_a_run_refuses_what_was_prepared_otherwise(tmp_path: Path) -> None:
    from llmctl_engine import prepare

    config = small_config(tmp_path)
    made = prepare.prepare(config, tmp_path / "cache", workers=1, progress=quiet)
    given = replace(config, data=replace(config.data, prepared=str(made.folder), dir="not on this node"))
    assert prepare.for_run(given, quiet).digest == made.digest
    other = replace(given, data=replace(given.data, cutoff_len=32), model=replace(given.model, template="qwen@0.9.5"))
    with pytest.raises(EngineError, match="was prepared otherwise than this run is: template, cutoff_len"):
        prepare.for_run(other, quiet)


@pytest.mark.engine
def test_a_damaged_folder_is_made_anew(tmp_path: Path) -> None:
    from llmctl_engine import prepare

    config = small_config(tmp_path)
    made = prepare.prepare(config, tmp_path / "cache", workers=1, progress=quiet)
    for harm in ("changed", "missing"):
        (made.folder / "ids.npy").unlink()
        if harm == "changed":
            (made.folder / "ids.npy").write_bytes(b"other")
        assert prepare.prepare(config, tmp_path / "cache", workers=1, progress=quiet).digest == made.digest
    assert list((tmp_path / "cache").iterdir()) == [made.folder]


@pytest.mark.engine
def test_what_a_continued_run_was_trained_on_is_compared(tmp_path: Path) -> None:
    from llmctl_engine import prepare
    from llmctl_engine.about import RECORDED
    from llmctl_engine.train import trained_otherwise

    config, output = small_config(tmp_path), tmp_path / "output"
    before = prepare.for_run(config, quiet)
    assert trained_otherwise(output, before) is None  # nothing is written down
    summary = output / "data_summary.json"
    summary.write_text("{}")
    assert trained_otherwise(output, before) is None  # by an older engine
    summary.write_text(json.dumps({"prepared": {name: before.about[name] for name in RECORDED}}))
    assert trained_otherwise(output, before) is None
    write_data(Path(config.data.dir), rows(47))
    assert trained_otherwise(output, prepare.for_run(config, quiet)) == ": data: numbers"
    now = prepare.for_run(replace(config, data=replace(config.data, packing="exact")), quiet)
    assert trained_otherwise(output, now) == ": data: numbers, packing"
    shutil.rmtree(before.folder)
    assert trained_otherwise(output, now) == ""


@pytest.mark.engine
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_preparing(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmctl_engine import pool, prepare
    from llmctl_engine.stop import StopRequest
    from llmctl_engine.train import progress_of

    config, stop, heard = small_config(tmp_path), StopRequest(), []
    monkeypatch.setattr(prepare, "BYTES_A_WORKER", 1000)
    monkeypatch.setattr(pool, "ROWS", 5)
    tell = progress_of(stop)

    def progress(done: int, total: int | None) -> None:
        heard.append(done)
        if done >= 10:
            stop.signal_number = signal.SIGTERM
        tell(done, total)

    with pytest.raises(Stopped, match="while the data was prepared") as raised:
        prepare.prepare(config, tmp_path / "cache", workers=workers, progress=progress)
    assert raised.value.exit_code == 128 + signal.SIGTERM
    assert heard == [0, 5, 10]
    assert not list((tmp_path / "cache").iterdir())
    assert not [process for process in multiprocessing.active_children() if process.is_alive()]


@pytest.mark.engine
@pytest.mark.parametrize("split", [None, *SPLITS], ids=["GPT-2", "Llama 3", "Qwen 2"])
@pytest.mark.parametrize("marked", [True, False])
def test_texts_in_pieces_have_the_ids_of_whole_texts(split: str | None, marked: bool) -> None:
    import random

    from llmctl_engine.tokenizer import train_tokenizer
    from llmctl_engine.turns import Sample
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    chance = random.Random(5)
    letters = [" ", "  ", "\n", "\t", "a", "Be", "é", "数字", "。", "字", "，", "“", "的", "'s", "12", "3", ".",
               "\u3000", "\xa0", "\x85", "\x1c", "\u2028", "\u200b", "</s>", "<", "s>", "😀", "\r\n", "'", "\u0301",
               "the word"]  # fmt: skip
    texts = ["".join(chance.choices(letters, k=chance.randrange(14))) for _ in range(2000)]
    tokenizer = train_tokenizer([Sample(dataset="d", row=1, text=" ".join(texts))], vocab_size=600)
    if split is not None:
        parts = [Split(Regex(split), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(parts)
    if not marked:
        tokenizer.add_tokens(["s</"])
    encode = encoder_of(tokenizer)
    assert isinstance(encode, Pieces)
    expected = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert [*encode(texts[:1000]), *encode(texts[1000:]), *encode(texts)] == expected + expected
    for across in ("the word", "字，"):
        tokenizer.add_tokens([across])
        assert not isinstance(encoder_of(tokenizer), Pieces)
        tokenizer = train_tokenizer([Sample(dataset="d", row=1, text="a")], vocab_size=300)


def _rank(number: int, made: str | None, everybody: Any, out: Any) -> None:
    os.environ["LOCAL_RANK"] = str(number)

    def do() -> str:
        if made is None:
            raise EngineError("the disk is full")
        if made == "stopped":
            raise Stopped(15, "stopped by a signal")
        if made == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    try:
        with once.on_node("test", do) as found:
            everybody.wait(120)
            out.put((number, found))
    except Stopped as error:
        out.put((number, f"stopped: {error.exit_code}"))
    except EngineError as error:
        out.put((number, f"error: {error}"))


@pytest.mark.parametrize(
    ("made", "first", "others"),
    [
        ("a folder", "a folder", "a folder"),
        (None, "error: the disk is full", "error: the first rank of this node could not prepare the data: the disk"),
        ("stopped", "stopped: 143", "stopped: 143"),
        ("killed", None, "error: the first rank of this node could not prepare the data: it ended without a word"),
    ],
)
def test_one_rank_of_a_node_does_it_for_all(
    made: str | None, first: str | None, others: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    context = multiprocessing.get_context("fork")
    out, everybody = context.SimpleQueue(), context.Barrier(3)
    ranks = [context.Process(target=_rank, args=(number, made, everybody, out), daemon=True) for number in (2, 1, 0)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
        assert not rank.is_alive()
    told = dict(out.get() for _ in range(3 if first else 2))
    assert told.get(0) == first
    assert told[1].startswith(others)
    assert told[2].startswith(others)


def test_a_note_of_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)  # so the file is another's
    once._note("test").write_text('{"made": "a folder"}')
    with pytest.raises(EngineError, match="belongs to another user"), once.on_node("test", lambda: ""):
        raise AssertionError("the note was believed")


def test_notes_that_are_done_with_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old, held, new = (once._note(name) for name in ("old", "held", "new"))
    for note in (old, held, new):
        note.write_text("{}")
    for note in (old, held):
        os.utime(note, (1, 1))
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with once.on_node("test", lambda: "a folder"):
            assert not old.exists()
    assert set(tmp_path.iterdir()) == {held, new}
