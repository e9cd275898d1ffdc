"""Logs and runs on another machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmctl.errors import ExitCode, NodeError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import CommandResult
from llmctl.workflows import far
from llmctl.workflows.far import far_path, fetching
from llmctl.workflows.many import report_many
from llmctl.workflows.report import make_report
from llmctl.workflows.report_sources import Asked
from tests.lab import Lab


@pytest.mark.parametrize(
    ("given", "node", "path"),
    [
        ("node1:/var/log/a.log", Node(name="node1"), "/var/log/a.log"),
        ("node1:a.log", Node(name="node1"), "a.log"),
        ("ann@node1:~/runs/x", Node(name="node1", user="ann"), "~/runs/x"),
        ("node1=10.0.0.1:/a b", Node(name="node1", address="10.0.0.1"), "/a b"),
        ("node1=[fe80::1]:/a", Node(name="node1", address="fe80::1"), "/a"),
        ("ann@node1:2222:/a:b", Node(name="node1", user="ann", port=2222), "/a:b"),
        ("name:with:colon", Node(name="name"), "with:colon"),
    ],
)
def test_a_place_on_another_machine(given: str, node: Node, path: str) -> None:
    found = far_path(given)
    assert found is not None
    assert (found.node, found.path, found.given) == (node, path, given)


@pytest.mark.parametrize(
    "given",
    [
        "C:\\logs\\a.log",
        "c:/logs/a.log",
        "./a:b",
        "logs/a:b",
        "/a:b",
        "a.log",
        "node1:",
        "http://a/b.log",
        ":/a",
        "-o:/a",
        "a b:/c",
    ],
)
def test_what_is_none(given: str) -> None:
    assert far_path(given) is None


def test_a_file_here_goes_before_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("name:with:colon").write_text("".join(f"{{'loss': {n}, 'epoch': {n}}}\n" for n in range(1, 4)))
    assert len(make_report("name:with:colon").run.points) == 3
    with pytest.raises(UsageError, match="no such file"):
        make_report("C:\\logs\\a.log")


class Answers(LocalTransport):
    """A machine that answers what it likes."""

    def __init__(self, text: str) -> None:
        super().__init__(Node(name="node1"))
        self.text = text

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        return CommandResult(0, self.text, "")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/x", "/x/\0\0../../etc/passwd\0" + "1\0"),
        ("/x", "/x/\0\0env/../../a.json\0" + "1\0"),
        ("/x", "/x/\0\0a/../events.out.tfevents.1\0" + "1\0"),
        ("/x", "/x/\0\0steps.jsonl\0many\0"),
        ("/x/a.log", "/x/\0../a.log\0../a.log\0" + "1\0"),
        ("/x/a.log", "/x/\0b.log\0b.log\0" + "1\0"),
        ("/x/a.log", "/x/\0a.log\0a.log\0" + "1\0manifest.json\0" + "1\0"),
    ],
)
def test_a_machine_cannot_choose_what_is_written_here(path: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmctl.remote.connect.connect", lambda _: Answers(answer))
    place = far_path(f"node1:{path}")
    assert place is not None
    with fetching() as fetch, pytest.raises(NodeError, match="what nobody asked for"):
        fetch(place)


STEPS = [{"record": "run", "device": "cpu", "global_batch": 8, "world_size": 1}] + [
    {"record": "step", "step": n, "loss": 2 + 1 / n, "step_seconds": 0.1} for n in range(1, 41)
]
TEXT = "\n".join(map(json.dumps, STEPS))
RECIPE = "name: a\ncluster: {device: cpu}\ntrain: {learning_rate: %s}\n"


@pytest.fixture
def at_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    monkeypatch.chdir(tmp_path)
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, lab.env[key])
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return lab


@pytest.mark.lab
def test_a_run_there_against_a_log_elsewhere(at_lab: Lab) -> None:
    one, two = at_lab.nodes
    place = f"{one.workdir}/runs/it's $HOME"
    manifest = {"state": "SUCCEEDED", "judged": {"profile": "exact", "gates": {}}, "digests": {}, "git": None}
    assert at_lab.exec(one, f'mkdir -p "{one.workdir}/runs/it\'s \\$HOME/output"').ok
    for name, text in (
        ("manifest.json", json.dumps(manifest)),
        ("recipe.yaml", RECIPE % "1.0e-4"),
        ("output/steps.jsonl", TEXT),
    ):
        path = f"{place}/{name}".replace("$", "\\$")
        assert at_lab.exec(one, f'cat > "{path}"', stdin=text).ok
    lines = [{"current_steps": n, "total_steps": 40, "loss": 2 + 1 / n} for n in range(1, 41)]
    at_lab.write(two, "/tmp/logs/trainer_log.jsonl", "\n".join(map(json.dumps, lines)))
    at_lab.write(two, "/tmp/logs/all_results.json", '{"train_loss": 1.5}')
    at_lab.write(two, "/tmp/logs/train.yaml", "learning_rate: 2.0e-4\n")
    told: list[tuple[str, int, int]] = []

    def moved(which: far.FarPath, done: int, total: int) -> None:
        told.append((which.given, done, total))

    run, log = f"node1:{place}", "node2:/tmp/logs/trainer_log.jsonl"
    made = make_report(run, Asked(reference=log, moved=moved))
    assert (made.run.source, made.title) == (f"{run}/output/steps.jsonl", "it's $HOME")
    assert made.comparison is not None
    assert made.comparison.profile == "exact"
    assert made.comparison.reference.source == log
    assert made.comparison.reference.final.train_loss == 1.5
    assert made.exit_code is ExitCode.OK
    assert made.differences == (("recipe.train.learning_rate", "0.0001", "0.0002"),)
    assert made.folder == Path("report-it's $HOME")
    last = {given: (done, total) for given, done, total in told}
    assert last.keys() == {run, log}
    assert all(done == total for done, total in last.values())


@pytest.mark.lab
def test_what_is_not_there_is_told_with_machine_and_path(at_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    at_lab.write(at_lab.nodes[0], "/tmp/good/steps.jsonl", TEXT)
    at_lab.write(at_lab.nodes[0], "/tmp/empty/nothing.txt", "nothing")
    with pytest.raises(UsageError) as caught:
        make_report("node1:/tmp/gone.log")
    assert (caught.value.where, caught.value.what) == ("node1:/tmp/gone.log", "no such file or folder")
    assert "ssh node1 ls -l /tmp" in caught.value.hint
    with pytest.raises(UsageError, match="neither a file nor a folder") as caught:
        make_report("node1:/dev/null")
    for place, where in (("/tmp/empty", "/tmp/empty"), ("/tmp/empty/nothing.txt", "/tmp/empty/nothing.txt")):
        with pytest.raises(UsageError) as caught:
            make_report(f"node1:{place}")
        assert caught.value.where == f"node1:{where}"
    for given in ("nowhere:/tmp/a.log", "nowhere:a.log"):
        with pytest.raises(NodeError) as lost:
            make_report(given)
        assert lost.value.where == given
        assert ("./nowhere:a.log" in lost.value.why) == (given == "nowhere:a.log")
    many = report_many(["node1:/tmp/good", "nowhere:/tmp/a.log", "node1:/tmp/gone"], Asked())
    assert many.exit_code is ExitCode.USAGE
    assert [error.exit_code for error in many.errors] == [ExitCode.NODE, ExitCode.USAGE]
    assert len(many.reports) == 1
    monkeypatch.setattr(far, "MOST", 100)
    with pytest.raises(UsageError, match="too much to fetch") as caught:
        make_report("node1:/tmp/good/steps.jsonl")
    assert "scp node1:/tmp/good/steps.jsonl" in caught.value.hint


@pytest.mark.lab
def test_the_home_folder_there_and_nothing_left_here(at_lab: Lab, tmp_path: Path) -> None:
    home = at_lab.exec(at_lab.nodes[0], "echo ~").stdout.strip()
    at_lab.write(at_lab.nodes[0], f"{home}/a b.jsonl", TEXT)
    with fetching() as fetch:
        places = [far_path(f"node1:{path}") for path in ("~/a b.jsonl", "a b.jsonl", f"{home}/a b.jsonl")]
        copies = [fetch(place) for place in places if place is not None]
        assert {copy.read_text() for copy in copies} == {TEXT}
        assert len(set(copies)) == 3
        at_lab.write(at_lab.nodes[0], "/tmp/board/runs/one/events.out.tfevents.1.node1", "events")
        board = far_path("node1:/tmp/board")
        assert board is not None
        copies.append(fetch(board) / "runs" / "one")
        assert [path.name for path in copies[-1].iterdir()] == ["events.out.tfevents.1.node1"]
    assert not any(copy.parent.exists() for copy in copies)
