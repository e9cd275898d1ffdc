"""What an environment may be made from, and what is refused before a node is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmctl.errors import UsageError
from llmctl.workflows.env_source import conda_version, read_source
from llmctl.workflows.setup_env import Difference, EnvState, EnvWish, differences


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    made = tmp_path / "in puts"
    made.mkdir()
    return made


def test_files_that_are_included_go_along(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "requirements.txt").write_text("numpy==1.0\n-r more/a.txt\n--constraint=c.txt\n# -r none.txt\n")
    (folder / "more" / "a.txt").write_text("-c b.txt\n")
    (folder / "more" / "b.txt").write_text("x==1 --hash=sha256:00\n")
    (folder / "c.txt").write_text("-r requirements.txt\n")
    source = read_source(folder / "requirements.txt")
    assert sorted(source.files) == ["c.txt", "more/a.txt", "more/b.txt", "requirements.txt"]
    assert source.first == "requirements.txt"


def test_the_digest_follows_every_input(folder: Path) -> None:
    file = folder / "r.txt"
    file.write_text("a==1\n")
    seen = {read_source(file).digest("python3"), read_source(file).digest("/opt/python3")}
    file.write_text("a==2\n")
    seen.add(read_source(file).digest("python3"))
    assert len(seen) == 3
    assert read_source(file).digest("python3") in seen


@pytest.mark.parametrize("line", ["-e .", "./pkg", "/abs/pkg", "a @ file:///pkg", "file:///x.whl", "a @ ./x.whl"])
def test_a_path_of_this_machine_is_refused_with_its_line(folder: Path, line: str) -> None:
    file = folder / "r.txt"
    file.write_text(f"numpy\n{line}\n")
    with pytest.raises(UsageError, match="means nothing on the nodes") as caught:
        read_source(file)
    assert caught.value.where == f"{file}:2"


@pytest.mark.parametrize(
    "line", ["numpy>=1 ; python_version > '3'", "a @ https://host/x.whl", "--index-url https://h/s"]
)
def test_what_a_node_can_fetch_is_left_to_pip(folder: Path, line: str) -> None:
    file = folder / "r.txt"
    file.write_text(line + "\n")
    assert read_source(file).files == {"r.txt": line + "\n"}


def test_files_outside_and_missing_ones_are_refused(folder: Path) -> None:
    file = folder / "r.txt"
    file.write_text("-r ../secret.txt\n")
    with pytest.raises(UsageError, match="outside of the folder"):
        read_source(file)
    file.write_text("-r none.txt\n")
    with pytest.raises(UsageError, match="no such file"):
        read_source(file)


def test_a_wheelhouse_names_its_packages(folder: Path) -> None:
    for name in ("A_b.C-1.0-py3-none-any.whl", "x-2-cp311-cp311-linux_x86_64.whl", "x-2-cp311-cp311-linux_aarch64.whl"):
        (folder / name).write_bytes(b"zip")
    source = read_source(folder)
    assert source.files == {"requirements.txt": "a-b-c==1.0\nx==2\n"}
    assert source.wheelhouse == folder
    before = source.digest("p")
    (folder / "x-2-cp311-cp311-linux_aarch64.whl").write_bytes(b"zap")
    assert read_source(folder).digest("p") != before


def test_a_wheelhouse_with_two_versions_must_say_which(folder: Path) -> None:
    for version in "12":
        (folder / f"x-{version}-py3-none-any.whl").write_bytes(b"zip")
    with pytest.raises(UsageError, match="several versions") as caught:
        read_source(folder)
    assert caught.value.why == "x 1, 2"
    (folder / "requirements.txt").write_text("x==2\n")
    assert read_source(folder).files == {"requirements.txt": "x==2\n"}


def test_an_empty_folder_and_a_name_that_is_no_wheels_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="holds no wheel"):
        read_source(folder)
    (folder / "x.whl").write_bytes(b"")
    with pytest.raises(UsageError, match=r"x\.whl: is no name of a wheel"):
        read_source(folder)


def test_condas_list_needs_conda(folder: Path) -> None:
    file = folder / "explicit.txt"
    file.write_text("# platform: linux-64\n@EXPLICIT\nhttps://host/python-3.11.conda#00\n")
    source = read_source(file)
    assert source.kind == "conda"
    with pytest.raises(UsageError, match="explicit list"):
        EnvWish(source=source)
    EnvWish(source=source, python="/opt/conda/bin/mamba")


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("conda", ("conda", "")),
        ("/opt/c d/bin/mamba=3.10", ("/opt/c d/bin/mamba", "3.10")),
        ("python3", None),
        ("/opt/conda/bin/python", None),
    ],
)
def test_conda_is_asked_for_by_its_name(word: str, wanted: tuple[str, str] | None) -> None:
    assert conda_version(word) == wanted


def state(node: str, **packages: tuple[str, str]) -> EnvState:
    return EnvState(node=node, state="made", python="3.11.7", packages=packages)


def test_equal_environments_have_one_digest_and_no_difference() -> None:
    one, two = state("n1", a=("1", "x"), b=("2", "y")), state("n2", b=("2", "y"), a=("1", "x"))
    assert differences([one, two]) == []
    assert one.digest == two.digest


def test_the_node_and_the_package_that_differ_are_named() -> None:
    three = [state("n1", a=("1", "x")), state("n2", a=("1", "x")), state("n3", a=("2", "z"), b=("1", "y"))]
    assert [str(each) for each in differences(three)] == [
        "a: 1 on n1, n2; 2 on n3",
        "b: missing on n1, n2; 1 on n3",
    ]
    assert len({each.digest for each in three}) == 2


def test_the_same_version_with_other_files_is_a_difference() -> None:
    (found,) = differences([state("n1", a=("1", "aaaaaaaaaa")), state("n2", a=("1", "bbbbbbbbbb"))])
    assert found == Difference(package="a", values={"1, files aaaaaaaa": ("n1",), "1, files bbbbbbbb": ("n2",)})


def test_a_missing_package_has_no_files() -> None:
    (found,) = differences([state("n1", a=("1", "aaaaaaaaaa")), state("n2"), state("n3", a=("1", "bbbbbbbbbb"))])
    assert list(found.values) == ["1, files aaaaaaaa", "missing", "1, files bbbbbbbb"]


def test_a_node_that_failed_does_not_differ() -> None:
    assert differences([state("n1", a=("1", "x")), EnvState(node="n2")]) == []
