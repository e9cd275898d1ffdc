"""What a push takes from the launcher: every name, no link that leads out, nothing read twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from llmctl.errors import ManyErrors, UsageError
from llmctl.remote.parcel import survey_parcel


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    made = tmp_path / "the 'weights'"
    (made / "数据" / "empty").mkdir(parents=True)
    (made / "数据" / "a\nb").write_bytes(b"one")
    (made / 'q"$HOME`id`').write_bytes(b"")
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    return made


def quiet(_: int) -> None:
    """Nobody looks."""


def test_every_file_and_folder_is_in_it(folder: Path) -> None:
    parcel = survey_parcel(folder, quiet)
    assert [item.name for item in parcel.files] == ['q"$HOME`id`', "run.sh", "数据/a\nb"]
    assert [item.executable for item in parcel.files] == [False, True, False]
    assert parcel.files[2].sha256 == hashlib.sha256(b"one").hexdigest()
    assert parcel.folders == ("数据", "数据/empty")
    assert parcel.size == 13
    json.dumps(parcel.request()).encode("ascii")


def test_a_name_that_is_no_text_goes_along(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe"))).write_bytes(b"x")
    parcel = survey_parcel(folder, quiet)
    (item,) = [item for item in parcel.files if item.size == 1]
    assert parcel.path(item).read_bytes() == b"x"
    json.dumps(parcel.request()).encode("ascii")


def test_the_digest_tells_names_contents_and_the_right_to_run(folder: Path) -> None:
    seen = {survey_parcel(folder, quiet).digest}
    (folder / "run.sh").chmod(0o644)
    seen.add(survey_parcel(folder, quiet).digest)
    (folder / "run.sh").rename(folder / "other.sh")
    seen.add(survey_parcel(folder, quiet).digest)
    (folder / "other.sh").write_text("#!/bin/xx\n")
    seen.add(survey_parcel(folder, quiet).digest)
    (folder / "数据" / "empty").rmdir()
    seen.add(survey_parcel(folder, quiet).digest)
    assert len(seen) == 5


def test_a_second_survey_reads_only_what_changed(folder: Path) -> None:
    survey_parcel(folder, quiet)
    read: list[int] = []
    (folder / "run.sh").write_text("changed")
    parcel = survey_parcel(folder, read.append)
    assert read == [7]
    assert parcel.files[1].sha256 == hashlib.sha256(b"changed").hexdigest()


def test_links_inside_stay_links_and_become_relative(folder: Path) -> None:
    (folder / "数据" / "up").symlink_to("../run.sh")
    (folder / "absolute").symlink_to(folder / "数据")
    assert dict(survey_parcel(folder, quiet).links) == {"absolute": "数据", "数据/up": "../run.sh"}


def test_links_that_lead_out_are_all_named(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    (folder / "one").symlink_to(secret)
    (folder / "数据" / "two").symlink_to("../../secret")
    (folder / "three").symlink_to("one")
    with pytest.raises(ManyErrors) as caught:
        survey_parcel(folder, quiet)
    assert {error.where for error in caught.value.errors} == {"one", "数据/two", "three"}


def test_what_cannot_travel_is_refused(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ManyErrors, match="pipe: is neither file, folder nor link"):
        survey_parcel(folder, quiet)
    with pytest.raises(UsageError, match="no such file or folder"):
        survey_parcel(tmp_path / "none", quiet)


def test_one_file_is_a_parcel_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder / "run.sh")
    parcel = survey_parcel(tmp_path / "link", quiet)
    assert (parcel.kind, [item.name for item in parcel.files]) == ("file", ["run.sh"])
    assert parcel.path(parcel.files[0]) == folder / "run.sh"
