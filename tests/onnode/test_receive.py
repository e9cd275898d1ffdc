"""The program that takes a parcel in, run here as a node runs it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmctl.onnode import receive
from llmctl.onnode.handon import frames
from llmctl.remote.parcel import Parcel, survey_parcel
from llmctl.resources import onnode_file


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    made = tmp_path / "source"
    (made / "sub" / "empty").mkdir(parents=True)
    (made / "large").write_bytes(bytes(range(256)) * 4096)
    (made / "sub" / "数 据").write_bytes(b"small")
    (made / "sub" / "link").symlink_to("../large")
    (made / "run").write_bytes(b"#!")
    (made / "run").chmod(0o755)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "node" / "it's here"


def survey(path: Path) -> Parcel:
    return survey_parcel(path, lambda _: None)


def ask(stdin: bytes = b"", **request: Any) -> dict[str, Any]:
    """What the program says at its end: {"answer": ...} or {"refused": ...}."""
    request["target"] = str(request["target"])
    line = json.dumps(request).encode() + b"\n"
    argv = [sys.executable, str(onnode_file("receive.py")), receive.NAME]
    done = subprocess.run(argv, input=line + stdin, capture_output=True, check=False, timeout=60)
    told: dict[str, Any] = {}
    for text in done.stdout.decode().splitlines():
        if text.startswith(receive.MARK):
            told |= json.loads(text[len(receive.MARK) :])
    assert told, done.stderr.decode()
    return told


def prepare(parcel: Parcel, target: Path, *, replace: bool = False, verify: bool = False) -> dict[str, Any]:
    return ask(verb="prepare", target=target, parcel=parcel.request(), replace=replace, verify=verify)


def stream(parcel: Parcel, need: list[list[int]]) -> bytes:
    files = [(i, parcel.path(parcel.files[i]), have, parcel.files[i].size) for i, have in need]
    return b"".join(frames(files))


def bring(parcel: Parcel, target: Path, **options: bool) -> dict[str, Any]:
    need = prepare(parcel, target, **options)["answer"]["need"]
    assert "answer" in ask(stream(parcel, need), verb="receive", target=target, digest=parcel.digest)
    told: dict[str, Any] = ask(verb="finish", target=target, digest=parcel.digest)
    return told


def tree(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): content(path) for path in folder.rglob("*")}


def content(path: Path) -> object:
    if path.is_symlink():
        return str(path.readlink())
    return path.is_file() and path.read_bytes()


def beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def test_a_folder_comes_whole_and_a_second_time_nothing_comes(source: Path, target: Path) -> None:
    parcel = survey(source)
    assert bring(parcel, target) == {"answer": {"placed": True}}
    assert tree(target) == tree(source)
    assert os.access(target / "run", os.X_OK)
    assert not os.access(target / "large", os.X_OK)
    assert beside(target) == [".it's here.llmctl-digests"]
    assert prepare(parcel, target)["answer"]["complete"]
    assert beside(target) == [".it's here.llmctl-digests"]


def test_one_file_comes_under_the_name_it_shall_have(source: Path, target: Path) -> None:
    parcel = survey(source / "large")
    bring(parcel, target)
    assert target.read_bytes() == (source / "large").read_bytes()
    assert prepare(parcel, target)["answer"]["complete"]


def test_a_part_is_gone_on_with(source: Path, target: Path) -> None:
    parcel = survey(source)
    need = prepare(parcel, target)["answer"]["need"]
    whole = stream(parcel, need)
    broken = ask(whole[: len(whole) // 2], verb="receive", target=target, digest=parcel.digest)
    assert broken["refused"]["what"] == "the sender went away"
    rest = prepare(parcel, target)["answer"]["need"]
    assert 0 < rest[0][1] < parcel.files[0].size
    assert bring(parcel, target) == {"answer": {"placed": True}}
    assert tree(target) == tree(source)


def test_a_wrong_byte_in_a_part_is_found_before_anything_is_put_in_place(source: Path, target: Path) -> None:
    parcel = survey(source)
    need = prepare(parcel, target)["answer"]["need"]
    ask(stream(parcel, need), verb="receive", target=target, digest=parcel.digest)
    part = target.parent / ".it's here.llmctl-partial" / "tree" / "large"
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\xfe")
    assert ask(verb="finish", target=target, digest=parcel.digest) == {"answer": {"wrong": [0]}}
    assert not target.exists()
    assert prepare(parcel, target)["answer"]["need"] == [[0, 0], [1, 2], [2, 5]]
    assert bring(parcel, target) == {"answer": {"placed": True}}


def test_only_what_changed_comes_and_the_old_state_stays_until_the_swap(source: Path, target: Path) -> None:
    bring(survey(source), target)
    (source / "run").write_bytes(b"#!new")
    (source / "sub" / "数 据").unlink()
    parcel = survey(source)
    assert prepare(parcel, target)["answer"]["need"] == [[1, 0]]
    assert (target / "run").read_bytes() == b"#!"
    assert (target / "sub" / "数 据").exists()
    bring(parcel, target)
    assert tree(target) == tree(source)


def test_a_changed_byte_in_place_is_found(source: Path, target: Path) -> None:
    parcel = survey(source)
    bring(parcel, target)
    (target / "run").write_bytes(b"##")
    assert prepare(parcel, target)["answer"]["need"] == [[1, 0]]
    bring(parcel, target)
    before = (target / "large").stat()
    with (target / "large").open("r+b") as file:
        file.write(b"\xff")
    os.utime(target / "large", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert prepare(parcel, target)["answer"]["complete"], "its time says that nothing changed"
    assert prepare(parcel, target, verify=True)["answer"]["need"] == [[0, 0]]


def test_what_others_put_there_is_not_lost(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    (target / "mine").write_text("not from a push")
    parcel = survey(source)
    refused = prepare(parcel, target)["refused"]
    assert "would lose it" in refused["what"]
    assert "mine" in refused["why"]
    assert tree(target) == {"mine": b"not from a push"}
    assert beside(target) == []
    bring(parcel, target, replace=True)
    assert tree(target) == tree(source)


def test_other_files_in_a_folder_that_is_complete_only_are_told(source: Path, target: Path) -> None:
    parcel = survey(source)
    bring(parcel, target)
    (target / "notes.txt").write_text("mine")
    told = prepare(parcel, target)["answer"]
    assert (told["complete"], told["extras"]) == (True, ["notes.txt"])
    assert (target / "notes.txt").exists()


def test_to_replace_what_is_as_it_should_be_does_nothing(source: Path, target: Path) -> None:
    parcel = survey(source)
    bring(parcel, target)
    before = target.stat().st_ino
    assert prepare(parcel, target, replace=True)["answer"]["complete"]
    (target / "mine").write_text("x")
    assert bring(parcel, target, replace=True) == {"answer": {"placed": True}}
    assert tree(target) == tree(source)
    assert target.stat().st_ino != before


def test_a_swap_that_was_broken_off_is_mended_by_the_next_push(source: Path, target: Path) -> None:
    bring(survey(source), target)
    (source / "run").write_bytes(b"#!new")
    parcel = survey(source)
    need = prepare(parcel, target)["answer"]["need"]
    ask(stream(parcel, need), verb="receive", target=target, digest=parcel.digest)
    target.rename(target.with_name(".it's here.llmctl-old"))  # as when the power fails at that moment
    assert prepare(parcel, target)["answer"]["need"] == [[1, 5]], "nothing has to come again"
    assert bring(parcel, target) == {"answer": {"placed": True}}
    assert tree(target) == tree(source)
    assert beside(target) == [".it's here.llmctl-digests"]


def test_a_file_is_not_put_over_a_folder(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    assert prepare(survey(source / "run"), target)["refused"]["what"] == "a folder stands there"
    target.rmdir()
    target.write_text("x")
    assert prepare(survey(source), target)["refused"]["what"] == "a file stands there"
    assert target.read_text() == "x"


def test_a_link_to_the_target_stays_a_link(source: Path, target: Path) -> None:
    disk = target.parent.parent / "disk"
    disk.mkdir()
    target.parent.mkdir()
    target.symlink_to(disk / "real")
    bring(survey(source), target)
    assert target.is_symlink()
    assert tree(disk / "real") == tree(source)


def test_no_room_is_said_before_a_byte_is_sent(source: Path, target: Path) -> None:
    parcel = survey(source)
    request = parcel.request()
    request["files"][0][1] = 1 << 60
    told = ask(verb="prepare", target=target, parcel=request, replace=False, verify=False)
    assert told["refused"]["what"] == "there is no room for it"
    assert beside(target) == []


def test_a_living_writer_is_left_alone(source: Path, target: Path) -> None:
    parcel = survey(source)
    prepare(parcel, target)
    lock = target.parent / ".it's here.llmctl-partial" / "lock"
    with lock.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(prepare, parcel, target)
            while not asked.done():
                os.utime(lock)  # as a writer does that takes something in
        assert asked.result()["refused"]["what"] == "another push is writing there"
    assert "answer" in prepare(parcel, target)


def test_a_writer_that_was_cut_off_is_ended(source: Path, target: Path) -> None:
    parcel = survey(source)
    prepare(parcel, target)
    argv = [sys.executable, str(onnode_file("receive.py")), receive.NAME]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cut:
        assert cut.stdin is not None
        request = {"verb": "receive", "target": str(target), "digest": parcel.digest}
        cut.stdin.write(json.dumps(request).encode() + b"\n0 0 1048576\n" + b"\0" * 1000)
        cut.stdin.flush()
        part = target.parent / ".it's here.llmctl-partial" / "tree" / "large"
        while not (part.exists() and part.stat().st_size == 1000):
            assert cut.poll() is None
        lock = target.parent / ".it's here.llmctl-partial" / "lock"
        os.utime(lock, (1, 1))
        assert prepare(parcel, target)["answer"]["need"][0] == [0, 1000]
        assert cut.wait(10) == -9


def test_parts_of_another_parcel_are_dropped(source: Path, target: Path) -> None:
    first = survey(source)
    need = prepare(first, target)["answer"]["need"]
    ask(stream(first, need), verb="receive", target=target, digest=first.digest)
    (source / "large").write_bytes(b"another one")
    second = survey(source)
    assert prepare(second, target)["answer"]["need"] == [[0, 0], [1, 2], [2, 5]]
    assert bring(second, target) == {"answer": {"placed": True}}


def test_a_node_that_was_not_prepared_takes_nothing(source: Path, target: Path) -> None:
    parcel = survey(source)
    told = ask(stream(parcel, []), verb="receive", target=target, digest=parcel.digest)
    assert told == {"answer": {"stranger": True}}
    assert not target.parent.exists()


def test_a_folder_that_cannot_be_made_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = prepare(survey(source), tmp_path / "file" / "target")["refused"]
    assert refused["what"] == "the folder cannot be made"
