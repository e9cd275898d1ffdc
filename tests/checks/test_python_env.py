"""Packages are read from their metadata, by the interpreter of the environment, without an import."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmctl.checks.facts import Fact, Severity
from llmctl.checks.judge import judge
from llmctl.checks.paths import path_rows
from llmctl.checks.python_env import python_rows
from llmctl.checks.rows import Row, Wanted


def row(rows: list[Row], name: str) -> Row:
    return next(each for each in rows if each.name == name)


def output(each: Row, **environment: str) -> str:
    env = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(["bash", "-c", each.run], env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    place = tmp_path / "site 包's"
    for name in ("torch-2.6.0", "torch_npu-2.6.0.post3", "zz_top-1.0"):
        (place / f"{name}.dist-info").mkdir(parents=True)
    (place / "old.thing-0.3-py3.8.egg-info").mkdir()
    (place / "torch").mkdir()
    (place / "torch/__init__.py").write_text("raise SystemExit('imported')")
    origin = {"url": "https://host/repo", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}
    (place / "zz_top-1.0.dist-info/direct_url.json").write_text(json.dumps(origin))
    (place / "broken-1.dist-info").mkdir()
    (place / "broken-1.dist-info/direct_url.json").write_text("{not json")
    return place


def test_versions_come_from_the_metadata_and_nothing_is_imported(packages: Path) -> None:
    rows = python_rows(sys.executable, engine=True)
    out = output(rows[0], PYTHONPATH=str(packages))
    assert row(rows, "package.torch").parse(out) == "2.6.0"
    assert row(rows, "package.torch-npu").parse(out) == "2.6.0.post3"
    assert row(rows, "package.torch-tpu").parse(out) == "none"
    assert row(rows, "python.executable").parse(out) == sys.executable
    others = row(rows, "packages.other").parse(out)
    assert others["zz-top"] == "1.0@abc123"
    assert others["old-thing"] == "0.3"
    assert others["broken"] == "1"
    assert "torch" not in others


def test_an_interpreter_with_a_hostile_name(tmp_path: Path) -> None:
    odd = tmp_path / "py'; echo foo #包"
    odd.symlink_to(sys.executable)
    rows = python_rows(str(odd), engine=False)
    assert row(rows, "python.executable").parse(output(rows[0])) == str(odd)


def test_missing_packages_of_the_engine_block() -> None:
    rows = python_rows("python3", engine=True, deepspeed=True, lora=True)
    packages = row(rows, "python.packages")
    has = {"torch": "2", "transformers": "5", "accelerate": "1", "safetensors": "0"}
    (finding,) = judge([packages], [Fact(name=packages.name, node="n", value=has)], {}, Wanted())
    assert finding.severity is Severity.ERROR
    assert "lacks deepspeed, peft" in finding.title
    plain = row(python_rows("python3", engine=False), "python.packages")
    assert judge([plain], [Fact(name=plain.name, node="n", value={})], {}, Wanted()) == []


def test_an_interpreter_that_cannot_run_blocks() -> None:
    executable = row(python_rows("python9", engine=True), "python.executable")
    (finding,) = judge([executable], [Fact(name=executable.name, node="n", error="not found")], {}, Wanted())
    assert (finding.code, finding.severity) == ("python.executable.missing", Severity.ERROR)


def files(place: Path, home: Path, *, deep: bool = False) -> dict[str, str]:
    (each,) = path_rows({"model": [str(place)]}, deep=deep)
    told: dict[str, str] = each.parse(output(each, LLMCTL_PYTHON=sys.executable, XDG_CACHE_HOME=str(home)))
    return told


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "model 'x' 权重"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(17 * 2**20)
    return folder


def test_small_files_are_compared_by_content_and_large_weights_by_size(place: Path, tmp_path: Path) -> None:
    before = files(place, tmp_path)
    assert before["weights.bin"] == f"size:{17 * 2**20}"
    assert set(before) == {"config.json", "weights.bin"}
    (place / "config.json").write_text("[]")
    assert files(place, tmp_path)["config.json"] != before["config.json"]


def test_large_data_is_read_whole_and_one_byte_counts(place: Path, tmp_path: Path) -> None:
    data = place / "rows.jsonl"
    data.write_bytes(b"a" * (17 * 2**20))
    before = files(place, tmp_path)["rows.jsonl"]
    assert len(before) == 64
    with data.open("r+b") as file:
        file.seek(9 * 2**20)
        file.write(b"b")
    assert files(place, tmp_path)["rows.jsonl"] != before


def test_the_header_of_safetensors_counts_and_deep_reads_all(place: Path, tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[4500000],"data_offsets":[0,18000000]}}'
    weights = place / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header + bytes(18_000_000))
    quick, deep = files(place, tmp_path), files(place, tmp_path, deep=True)
    assert quick["model.safetensors"].startswith(f"size:{8 + len(header) + 18_000_000} header ")
    assert len(deep["model.safetensors"]) == len(deep["weights.bin"]) == 64
    with weights.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"x")
    assert files(place, tmp_path)["model.safetensors"] == quick["model.safetensors"]
    assert files(place, tmp_path, deep=True)["model.safetensors"] != deep["model.safetensors"]
    with weights.open("r+b") as file:
        file.seek(20)
        file.write(b"F16")
    assert files(place, tmp_path)["model.safetensors"] != quick["model.safetensors"]


def test_a_digest_is_kept_until_the_file_changes(place: Path, tmp_path: Path) -> None:
    files(place, tmp_path)
    cache = tmp_path / f"llmctl/digests-{socket.gethostname()}.json"
    kept = json.loads(cache.read_text())
    path = str(place / "config.json")
    kept[path][1] = "kept"
    cache.write_text(json.dumps(kept))
    assert files(place, tmp_path)["config.json"] == "kept"
    (place / "config.json").write_text("[1]")
    assert len(files(place, tmp_path)["config.json"]) == 64
    cache.write_text("{broken")
    assert len(files(place, tmp_path)["config.json"]) == 64


def test_a_checkout_has_its_commit(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    git(code, "init", "-q")
    (code / "train.py").write_text("print(1)\n")
    git(code, "add", ".")
    git(code, "commit", "-qm", "one")
    (each,) = path_rows({"code": [str(code)]})
    told = each.parse(output(each, LLMCTL_PYTHON=sys.executable, XDG_CACHE_HOME=str(tmp_path)))
    assert told["(commit)"] == git(code, "rev-parse", "HEAD")
    assert set(told) == {"(commit)", "train.py"}


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(["git", *who, "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_folder_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    (each,) = path_rows({"model": [str(tmp_path / "none")]})
    environment = {"LLMCTL_PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    assert subprocess.run(["sh", "-c", each.run], env=environment, capture_output=True, check=False).returncode != 0
    assert str(tmp_path / "none") in each.must


def installed(place: Path, name: str, version: str, sources: dict[str, str]) -> Path:
    """A package as pip leaves it, RECORD last."""
    rows = []
    for path, text in sources.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f'"{path}",sha256={digest},{len(text.encode())}')
    info = place / f"{name}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]) + "\n")
    return info


def told_of(place: Path, name: str) -> Any:
    rows = python_rows(sys.executable, engine=False)
    each = row(rows, name)
    return each.parse(output(each, PYTHONPATH=str(place)))


@pytest.mark.parametrize("change", ["longer", "same length", "gone"])
def test_a_hand_edited_package_is_found(tmp_path: Path, change: str) -> None:
    place = tmp_path / "site"
    sources = {"transformers/deepspeed.py": "old = 1\n", "transformers/版本, 'x'.py": "y = 1\n"}
    record = installed(place, "transformers", "4.30.2", sources) / "RECORD"
    assert told_of(place, "python.edited") == {}
    target = place / "transformers/deepspeed.py"
    if change == "gone":
        target.unlink()
    else:
        target.write_text("old = 10\n" if change == "longer" else "old = 2\n")
        later = record.stat().st_mtime + 60
        os.utime(target, (later, later))
    assert list(told_of(place, "python.edited")) == ["transformers/deepspeed.py"]


def test_an_edit_that_hides_its_time_is_found_by_a_deep_look(tmp_path: Path) -> None:
    place = tmp_path / "site"
    installed(place, "accelerate", "0.20.3", {"accelerate/accelerator.py": "a = 1\n"})
    target = place / "accelerate/accelerator.py"
    before = target.stat().st_mtime
    target.write_text("a = 2\n")
    os.utime(target, (before, before))
    assert told_of(place, "python.edited") == {}
    assert list(told_of(place, "python.edited_deep")) == ["accelerate/accelerator.py"]


def test_an_editable_fork_is_told_by_commit_and_by_what_was_changed_since(tmp_path: Path) -> None:
    fork, place = tmp_path / "fork", tmp_path / "site"
    fork.mkdir()
    git(fork, "init", "-q")
    (fork / "peft.py").write_text("r = 8\n")
    git(fork, "add", ".")
    git(fork, "commit", "-qm", "one")
    info = installed(place, "peft", "0.4.0", {})
    origin = {"url": f"file://{fork}", "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    clean = told_of(place, "package.peft")
    assert clean == f"0.4.0@editable {fork} {git(fork, 'rev-parse', 'HEAD')}"
    (fork / "peft.py").write_text("r = 16\n")
    changed = told_of(place, "package.peft")
    assert changed.startswith(clean + "+")
    (fork / "peft.py").write_text("r = 32\n")
    assert told_of(place, "package.peft") != changed


def test_two_records_of_one_package_are_told(tmp_path: Path) -> None:
    place = tmp_path / "site"
    for version in ("2.0.1", "2.1.0"):
        installed(place, "torch", version, {})
    assert told_of(place, "python.twice") == {"torch": ["2.0.1", "2.1.0"]}


def test_the_build_of_torch_is_read_from_its_version_file(tmp_path: Path) -> None:
    place = tmp_path / "site"
    text = "__version__ = '2.6.0+cu124'\ncuda: Optional[str] = '12.4'\nhip: Optional[str] = None\ngit_version = 'abc'\n"
    installed(place, "torch", "2.6.0", {"torch/version.py": text})
    assert told_of(place, "python.torch") == {"version": "2.6.0+cu124", "cuda": "12.4", "hip": None, "git": "abc"}


def test_a_wheel_from_a_folder_has_its_version_alone(tmp_path: Path) -> None:
    info = installed(tmp_path / "site", "torch_npu", "2.6.0", {})
    origin = {"url": "file:///root/torch_npu-2.6.0.whl", "archive_info": {"hash": "sha256=ab"}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    assert told_of(tmp_path / "site", "package.torch-npu") == "2.6.0"


def test_an_old_editable_install_is_told_with_its_commit(tmp_path: Path) -> None:
    fork = tmp_path / "fork"
    (fork / "peft.egg-info").mkdir(parents=True)
    git(fork, "init", "-q")
    (fork / "peft.egg-info/PKG-INFO").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.4.0\n")
    (fork / "peft.py").write_text("r = 8\n")
    git(fork, "add", ".")
    git(fork, "commit", "-qm", "one")
    assert told_of(fork, "package.peft") == f"0.4.0@editable {fork} {git(fork, 'rev-parse', 'HEAD')}"


def test_equal_changes_have_equal_marks_and_a_look_writes_nothing(tmp_path: Path) -> None:
    forks = [tmp_path / name / "fork" for name in ("a", "b")]
    marks = []
    for fork in forks:
        fork.mkdir(parents=True)
        git(fork, "init", "-q")
        (fork / "peft.py").write_text("r = 8\n")
        git(fork, "add", ".")
        environment = "2026-01-01T00:00:00Z"
        git(fork, "commit", "-qm", "one", "--date", environment)
        (fork / "peft.py").write_text("r = 16\n")
        (fork / "new.py").write_text("x\n")
        before = (fork / ".git/index").stat().st_mtime_ns
        if fork is forks[1]:
            git(fork, "config", "core.abbrev", "20")
        info = installed(fork.parent / "site", "peft", "0.4.0", {})
        (info / "direct_url.json").write_text(json.dumps({"url": f"file://{fork}", "dir_info": {"editable": True}}))
        marks.append(told_of(fork.parent / "site", "package.peft").partition("+")[2])
        assert (fork / ".git/index").stat().st_mtime_ns == before
    assert marks[0] == marks[1] != ""


def test_odd_files_are_told_on_every_node_alike(place: Path, tmp_path: Path) -> None:
    os.mkfifo(place / "pipe")
    (Path(os.fsdecode(os.fsencode(place) + b"/\xc4\xe3.txt"))).write_text("x")
    (place / "nowhere").symlink_to("/no/such/file")
    told = files(place, tmp_path)
    assert "pipe" not in told
    assert "\\xc4\\xe3.txt" in told
    assert told["nowhere"].startswith("cannot be read")
