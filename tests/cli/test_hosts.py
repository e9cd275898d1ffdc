"""`llmctl hosts`: host lists converted, and words shown as nodes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llmctl.recipe.hostlists import FORMATS
from tests.conftest import RunLlmctl

INVENTORY = """
[npu]
node[01:03] slots=8 ansible_user=root ansible_port=2222 rack=3
[login]
jump ansible_host=10.0.0.9
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "in ventory's.ini"
    path.write_text(INVENTORY)
    return path


def test_an_inventory_becomes_a_hostfile_and_every_loss_is_told(inventory: Path, run_llmctl: RunLlmctl) -> None:
    done = run_llmctl("hosts", "convert", inventory, "--to", "deepspeed", "--only", "@npu!node02", code=0)
    assert done.stdout == "node01 slots=8\nnode03 slots=8\n"
    told = done.stderr.splitlines()
    assert told[0] == "read as ansible; --from says otherwise"
    for words in ("the port of node01, node03", "the user of", "the variable rack", "the groups npu"):
        assert any(words in line and line.startswith("warning") for line in told), words


def test_a_host_that_was_left_out_is_not_proposed(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    (tmp_path / "hf").write_text("node1 slots=1\nnode2 slots=1\n")
    words = ("hosts", "convert", tmp_path / "hf", "--to", "mpi", "--only")
    done = run_llmctl(*words, "node[1-4]!node2", code=2)
    assert "the list has no node[3-4]" in done.stderr
    assert "next: it has node[1-2]" in done.stderr
    assert "did you mean node2?" in run_llmctl(*words, "noode2", code=2).stderr


def test_what_the_recipe_reads_carries_port_and_user(inventory: Path, tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    made = tmp_path / "hostfile"
    words = ("hosts", "convert", inventory, "--from", "ansible", "--to", "llmctl", "--slots", "4", "-o", made)
    done = run_llmctl(*words, code=0)
    assert done.stdout == ""
    assert made.read_text().splitlines()[0] == "root@node01:2222 slots=8"
    assert made.read_text().splitlines()[-1] == "jump=10.0.0.9 slots=4"
    assert "port" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_list_survives_a_walk_through_all_formats(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    text = "".join(f"root@node{number:02} slots={number}\n" for number in (3, 1, 2, 10))
    path = tmp_path / "list"
    path.write_text(text)
    before = "mpi"
    for name in ("mpich", "llmctl", "ansible", "ansible-yaml", "mpi"):
        done = run_llmctl("hosts", "convert", path, "--from", before, "--to", name, "-o", path, code=0)
        assert "warning" not in done.stderr
        before = name
    assert path.read_text() == text


def test_the_help_names_every_format(run_llmctl: RunLlmctl) -> None:
    told = run_llmctl("hosts", "convert", "--help", code=0).stdout
    assert [name for name in FORMATS if name not in "".join(told.split())] == []


def test_standard_input_and_windows_lines(run_llmctl: RunLlmctl) -> None:
    done = run_llmctl("hosts", "convert", "-", "--to", "slurm", stdin="\ufeffn1 slots=2\r\nn2 slots=2\r\n", code=0)
    assert done.stdout == "n[1-2]\n"
    assert "slots of n[1-2]" in done.stderr


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("n1 slots=8\nn1 slots=8\n", ["--to", "mpich", "--from", "deepspeed"], ":2:1: n1 stands twice"),
        ("n1 slots=8\n", ["--to", "deepspead"], "did you mean deepspeed?"),
        ("n1 slots=8\n", ["--to", "mpi", "--from", "x"], "--from: no format 'x'"),
        ("n1\n", ["--to", "deepspeed"], "--slots 8"),
        ("n1\n", ["--to", "mpi", "--slots", "0"], "--slots 0"),
        ("n1 max_slots=4\n", ["--to", "mpi", "--slots", "8"], "more than max_slots=4 of n1"),
        ("n1\nn2\n", ["--to", "mpi", "--only", "n3"], "the list has no n3"),
        ("n1\nn2\n", ["--to", "mpi", "--only", "@npu"], "no group @npu"),
        ("", ["--to", "mpi"], "names no node"),
        ("# c\n", ["--to", "mpi", "--from", "slurm"], "names no host"),
    ],
)
def test_mistakes_are_told(text: str, words: list[str], told: str, tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    done = run_llmctl("hosts", "convert", path, *words, code=2)
    assert told in done.stderr
    assert done.stdout == ""


def test_missing_files_and_folders(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    assert "no such file" in run_llmctl("hosts", "convert", tmp_path / "x", "--to", "mpi", code=2).stderr
    assert "cannot be read" in run_llmctl("hosts", "convert", tmp_path, "--to", "mpi", code=2).stderr
    (tmp_path / "h").write_bytes(b"\xff\xfe")
    assert "cannot be read" in run_llmctl("hosts", "convert", tmp_path / "h", "--to", "mpi", code=2).stderr
    (tmp_path / "h").write_text("n1\n")
    gone = tmp_path / "no" / "out"
    assert (
        "cannot be written" in run_llmctl("hosts", "convert", tmp_path / "h", "--to", "mpi", "-o", gone, code=2).stderr
    )


def test_show_tells_what_words_mean(tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        "Host node4\n  HostName 10.0.0.4\n  Port 2200\n  ProxyJump me@gate\n  IdentityFile ~/key\n"
    )
    groups = tmp_path / ".config" / "clustershell"
    groups.mkdir(parents=True)
    (groups / "groups.conf").write_text("[Main]\ndefault: mine\nautodir: $CFGDIR\n")
    (groups / "mine.yaml").write_text("mine:\n  npu: 'node[7-8]'\n")
    env = {**os.environ, "HOME": str(tmp_path), "LLMCTL_HOME": str(tmp_path / "home")}
    env.pop("XDG_CONFIG_HOME", None)
    words = ("hosts", "show", "node[1-4]!node[2-3]", "root@a=10.9.9.9:23", "@npu")
    rows = json.loads(run_llmctl(*words, "--json", env=env, code=0).stdout)["nodes"]
    assert [row["node"] for row in rows] == ["node1", "node4", "a", "node7", "node8"]
    assert (rows[1]["address"], rows[1]["port"], rows[1]["jump"]) == ("10.0.0.4", 2200, "me@gate")
    assert rows[1]["keys"] == [str(tmp_path / "key")]
    assert rows[2] == {"node": "a", "address": "10.9.9.9", "port": 23, "user": "root", "jump": None, "keys": []}
    table = run_llmctl(*words, env=env, code=0).stdout
    assert "10.9.9.9" in table
    assert table.endswith("5 nodes\n")
    assert "no group @nope" in run_llmctl("hosts", "show", "@nope", env=env, code=2).stderr
