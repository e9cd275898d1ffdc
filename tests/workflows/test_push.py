"""`push` on real nodes: one copy over the launcher's link, cuts, wrong bytes, nodes that are down."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmctl.recipe.hosts import Node
from llmctl.remote.connect import connect, resolve
from llmctl.remote.delivery import Place, guarded, prepare
from llmctl.remote.parcel import survey_parcel
from llmctl.workflows.push import Push, Step, Wish, push
from tests.conftest import RunLlmctl, llmctl, set_up
from tests.lab import Lab
from tests.lab.hostile import BASHRC, hostile

pytestmark = pytest.mark.lab
FreshLab = Callable[..., Lab]
NAMES = ("node1", "node2", "node3")
LARGE = 96 << 20
needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


@pytest.fixture
def at_three(three: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    for key in ("LLMCTL_HOME", "HOME"):
        monkeypatch.setenv(key, three.env[key])
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return three


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with hostile names, 12 MB."""
    made = tmp_path / "the 'weights'; echo foo 权重"
    (made / "sub folder").mkdir(parents=True)
    (made / "large.bin").write_bytes(os.urandom(12_000_000))
    (made / "sub folder" / 'q"$HOME`id`\n').write_bytes(b"hostile")
    (made / "sub folder" / "link").symlink_to("../large.bin")
    (made / "数据.json").write_text("[]")
    return made


def result(lab: Lab, *words: str | Path, code: int = 0) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(llmctl("push", *words, "--json", env=lab.env, code=code).stdout)
    return loaded


def states(told: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(node["name"], node["state"], node["from"]) for node in told["nodes"]]


def launcher_sent(lab: Lab) -> int:
    """Bytes that have gone out of the launcher's network interface."""
    return int(Path(f"/sys/class/net/ll{lab.site.token}/statistics/tx_bytes").read_text())  # type: ignore[attr-defined]


LIST = "cd '{}' && find . -type f -exec sha256sum {{}} + | sort; find . -printf '%y %p %l\\n' | sort"


def listing(lab: Lab, name: str, folder: str) -> str:
    node = next(node for node in lab.nodes if node.name == name)
    return lab.exec(node, LIST.format(folder)).stdout


def same_as(folder: Path) -> str:
    return subprocess.run(
        ["sh", "-c", LIST.format("$1").replace("'$1'", '"$1"'), "sh", str(folder)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("way", ["--no-rsync", pytest.param("--rsync", marks=needs_rsync)])
def test_the_launchers_link_carries_one_copy_and_a_second_run_none(three: Lab, weights: Path, way: str) -> None:
    to = f"/tmp/tree {way}"
    before = launcher_sent(three)
    told = result(three, weights, *NAMES, "--to", f"{to}/", way)
    first = launcher_sent(three) - before
    assert states(told) == [("node1", "copied", "launcher"), ("node2", "copied", "node1"), ("node3", "copied", "node1")]
    assert 12_000_000 < told["launcher_bytes"] < 12_100_000
    assert 12_000_000 < first < 14_000_000, "one copy, ssh's frames and three handshakes"
    place = told["nodes"][0]["path"]
    assert place == f"{to}/{weights.name}"
    there = [
        three.exec(node, f"cd {to.replace(' ', chr(92) + ' ')}/* && ls -A .. | wc -l").stdout for node in three.nodes
    ]
    assert there == ["2\n"] * 3, "the folder and its kept digests, nothing else"
    again = result(three, weights, *NAMES, "--to", f"{to}/", way)
    assert states(again) == [(name, "was there", None) for name in NAMES]
    assert again["launcher_bytes"] == 0
    assert launcher_sent(three) - before - first < 500_000


def test_what_arrives_is_what_was_sent(three: Lab, weights: Path) -> None:
    result(three, weights, *NAMES, "--to", "/tmp/same")
    assert {listing(three, name, "/tmp/same") for name in NAMES} == {same_as(weights)}


def test_one_file_and_a_change_of_it(three: Lab, tmp_path: Path) -> None:
    file = tmp_path / "it's 一 file"
    file.write_bytes(b"first")
    told = result(three, file, "node1", "node2", "--to", "/tmp/single/")
    assert states(told) == [("node1", "copied", "launcher"), ("node2", "copied", "node1")]
    file.write_bytes(b"second")
    told = result(three, file, "node1", "node2", "--to", "/tmp/single/")
    assert [node["copied"] for node in told["nodes"]] == [6, 6]
    assert three.exec(three.nodes[1], "cat /tmp/single/it*").stdout == "second"


def test_a_node_that_is_down_leaves_the_others_done_and_gets_it_later(at_three: Lab, weights: Path) -> None:
    at_three.cut(at_three.nodes[1])
    try:
        told = result(at_three, weights, *NAMES, "--to", "/tmp/down", code=5)
    finally:
        at_three.join(at_three.nodes[1])
    assert states(told) == [("node1", "copied", "launcher"), ("node2", "failed", None), ("node3", "copied", "node1")]
    assert "node2: it cannot be reached" in told["nodes"][1]["error"]
    told = result(at_three, weights, *NAMES, "--to", "/tmp/down")
    assert states(told) == [("node1", "was there", None), ("node2", "copied", "node1"), ("node3", "was there", None)]
    assert told["launcher_bytes"] == 0


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(os.urandom(LARGE))
    return file


def places(to: str, *names: str) -> tuple[list[Node], dict[str, str]]:
    return [Node(name=name) for name in names], dict.fromkeys(names, to)


def sha(lab: Lab, number: int, path: str) -> str:
    return lab.exec(lab.nodes[number], f"sha256sum < {path}").stdout.split()[0]


def test_a_cable_that_is_cut_in_the_middle_loses_nothing_that_has_come(at_three: Lab, heavy: Path) -> None:
    node = at_three.nodes[0]
    cut: list[Step] = []

    def pull(step: Step) -> None:
        if not cut and step.phase == "copying" and step.done > 0:
            cut.append(step)
            at_three.cut(node)

    try:
        nodes, where = places("/tmp/cut/model", "node1")
        broken = push(heavy, nodes, where, Wish(idle=1.5, rsync=False, tell=pull))
    finally:
        at_three.join(node)
    assert cut
    assert broken.arrivals[0].error is not None
    assert at_three.exec(node, "ls /tmp/cut").stdout == ""
    done = push(heavy, nodes, where, Wish(rsync=False))
    assert done.arrivals[0].state == "copied", done.arrivals[0].error
    assert done.arrivals[0].copied <= LARGE - cut[0].done
    assert sha(at_three, 0, "/tmp/cut/model") == hashlib.sha256(heavy.read_bytes()).hexdigest()


def stopped_in_the_middle(lab: Lab, *words: str | Path, part: str, by: signal.Signals) -> tuple[int, str]:
    """Start a push and send a signal as soon as something has come to the first node, as a terminal does: to all
    processes of the command; its exit code and output."""
    argv = [sys.executable, "-m", "llmctl", "push", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=lab.env, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        while not lab.exec(lab.nodes[0], f"find /tmp -path '*{part}*' -name model.safetensors -size +1M").stdout:
            assert process.poll() is None, process.communicate()
        os.killpg(process.pid, by)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out.decode()


@pytest.mark.parametrize("way", ["--no-rsync", pytest.param("--rsync", marks=needs_rsync)])
def test_a_push_that_a_person_stops_tells_how_far_it_came(three: Lab, heavy: Path, way: str) -> None:
    words = (heavy, "node1", "node2", "--to", f"/tmp/stopped{way}/", way)
    code, out = stopped_in_the_middle(three, *words, "--json", part=f"stopped{way}/.model", by=signal.SIGINT)
    assert code == 130
    told = json.loads(out)
    assert [node["state"] for node in told["nodes"]] == ["failed", "failed"]
    assert "it goes on where it stopped" in told["nodes"][0]["error"]
    assert [node["notes"] for node in told["nodes"]] == [[], []]
    assert told["launcher_bytes"] < LARGE
    assert result(three, *words)["launcher_bytes"] < LARGE


@pytest.mark.parametrize("way", ["--no-rsync", pytest.param("--rsync", marks=needs_rsync)])
def test_a_push_that_is_killed_is_gone_on_with(three: Lab, heavy: Path, way: str) -> None:
    words = (heavy, "node1", "node2", "--to", f"/tmp/killed{way}/", way)
    stopped_in_the_middle(three, *words, part=f"killed{way}/.model", by=signal.SIGKILL)
    assert three.exec(three.nodes[0], f"ls /tmp/killed{way}").stdout == ""
    told = result(three, *words)
    assert states(told) == [("node1", "copied", "launcher"), ("node2", "copied", "node1")]
    assert told["launcher_bytes"] < LARGE
    wanted = hashlib.sha256(heavy.read_bytes()).hexdigest()
    assert [sha(three, i, f"/tmp/killed{way}/model.safetensors") for i in (0, 1)] == [wanted] * 2


def test_a_wrong_byte_in_what_has_come_is_found_and_mended(three: Lab, heavy: Path) -> None:
    words = (heavy, "node1", "node2", "--to", "/tmp/wrong/", "--no-rsync")
    stopped_in_the_middle(three, *words, part="wrong/.model", by=signal.SIGKILL)
    part = "/tmp/wrong/.model.safetensors.llmctl-partial/tree/model.safetensors"
    assert three.exec(three.nodes[0], f"printf xyz | dd of={part} bs=1 seek=1000 conv=notrunc").ok
    told = result(three, *words)
    assert told["nodes"][0]["notes"] == ["arrived wrong and came again: model.safetensors"]
    wanted = hashlib.sha256(heavy.read_bytes()).hexdigest()
    assert [sha(three, i, "/tmp/wrong/model.safetensors") for i in (0, 1)] == [wanted] * 2


def test_a_byte_that_changed_on_one_node_is_found_and_only_that_file_comes(three: Lab, weights: Path) -> None:
    result(three, weights, *NAMES, "--to", "/tmp/changed")
    assert three.exec(three.nodes[2], "printf '{' > /tmp/changed/数据.json").ok
    told = result(three, weights, *NAMES, "--to", "/tmp/changed")
    assert [(node["state"], node["copied"]) for node in told["nodes"]] == [
        ("was there", 0),
        ("was there", 0),
        ("copied", 2),
    ]
    touch = "cd /tmp/changed && touch -r large.bin ../t && printf x | dd of=large.bin bs=1 seek=9 conv=notrunc && "
    assert three.exec(three.nodes[1], touch + "touch -r ../t large.bin").ok
    assert states(result(three, weights, "node2", "--to", "/tmp/changed"))[0][1] == "was there"
    told = result(three, weights, "node2", "--to", "/tmp/changed", "--verify")
    assert told["nodes"][0]["copied"] == 12_000_000
    assert listing(three, "node2", "/tmp/changed") == same_as(weights)


def test_a_node_that_its_peers_cannot_reach_gets_it_from_the_launcher(three: Lab, weights: Path) -> None:
    hide = "mv ~/.ssh/llmctl_known_hosts ~/.ssh/away"
    assert three.exec(three.nodes[0], hide).ok
    try:
        told = result(three, weights, "node1", "node2", "--to", "/tmp/direct")
    finally:
        three.exec(three.nodes[0], "mv ~/.ssh/away ~/.ssh/llmctl_known_hosts")
    assert states(told) == [("node1", "copied", "launcher"), ("node2", "copied", "launcher")]
    assert any("node1 could not hand it on" in note for note in told["nodes"][1]["notes"])


def test_without_a_node_that_can_log_in_to_others_all_comes_from_the_launcher(three: Lab, weights: Path) -> None:
    told = result(three, weights, "node2", "node3", "--to", "/tmp/star", "--no-rsync")
    assert states(told) == [("node2", "copied", "launcher"), ("node3", "copied", "launcher")]
    assert told["launcher_bytes"] == 2 * told["bytes"]


def test_a_full_disk_is_said_before_a_byte_is_sent(three: Lab, tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as made:
        made.truncate(40 << 20)
    assert three.exec(three.nodes[1], "mkdir -p /tmp/small && mount -t tmpfs -o size=16m none /tmp/small").ok
    told = result(three, file, "node1", "node2", "--to", "/tmp/small/", code=5)
    assert states(told) == [("node1", "copied", "launcher"), ("node2", "failed", None)]
    assert "there is no room for it" in told["nodes"][1]["error"]
    assert three.exec(three.nodes[1], "ls -A /tmp/small").stdout == ""


def test_what_others_put_there_is_not_lost(three: Lab, weights: Path) -> None:
    assert three.exec(three.nodes[0], "mkdir -p /tmp/theirs && echo mine > /tmp/theirs/notes").ok
    told = result(three, weights, "node1", "node2", "--to", "/tmp/theirs", code=5)
    assert states(told) == [("node1", "failed", None), ("node2", "copied", "launcher")]
    assert "--replace" in told["nodes"][0]["error"]
    assert three.exec(three.nodes[0], "ls -A /tmp/theirs").stdout == "notes\n"


def test_nodes_that_share_a_folder_get_it_once(fresh_lab: FreshLab, weights: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    lab = fresh_lab(count=2, shared=shared)
    set_up(lab)
    told = result(lab, weights, "node1", "node2", "--to", f"{shared}/")
    assert states(told) == [("node1", "copied", "launcher"), ("node2", "shared", "node1")]
    assert same_as(shared / weights.name) == same_as(weights)


def test_a_mesh_hands_on_from_many(fresh_lab: FreshLab, run_llmctl: RunLlmctl, weights: Path) -> None:
    lab = fresh_lab(count=4)
    run_llmctl("setup-nodes", *lab.specs, "--mesh", "--accept-new", *lab.login_options(), env=lab.env, code=0)
    told = result(lab, weights, "node[1-4]", "--to", "/tmp/mesh")
    sources = [node["from"] for node in told["nodes"]]
    assert sources.count("launcher") == 1
    assert told["launcher_bytes"] < 12_100_000
    assert {listing(lab, node.name, "/tmp/mesh") for node in lab.nodes} == {same_as(weights)}


def test_a_recipe_says_which_nodes_and_where(three: Lab, weights: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: r\ncluster: {device: cpu, nodes: [node1, node2], workdir: /tmp/work}\n"
        f'model: {{path: "models/{weights.name}"}}\ndata: {{datasets: [d]}}\n'
    )
    told = result(three, weights, recipe)
    assert [node["path"] for node in told["nodes"]] == [f"/tmp/work/models/{weights.name}"] * 2


def test_progress_tells_bytes_and_both_ends(at_three: Lab, heavy: Path) -> None:
    steps: list[Step] = []
    nodes, where = places("/tmp/progress/model", "node1", "node2")
    done: Push = push(heavy, nodes, where, Wish(tell=steps.append))
    assert [arrival.state for arrival in done.arrivals] == ["copied", "copied"]
    ways = {(step.source, step.node) for step in steps if step.phase == "copying"}
    assert ways == {("launcher", "node1"), ("node1", "node2")}
    assert {step.total for step in steps if step.phase == "copying"} == {LARGE}
    assert {"reading", "comparing", "checking"} <= {step.phase for step in steps}


def test_a_node_without_python_and_one_that_talks_at_login(fresh_lab: FreshLab, weights: Path) -> None:
    lab = fresh_lab(count=2)
    set_up(lab)
    assert lab.exec(lab.nodes[0], "mv /usr/bin/python3 /usr/bin/away; rm -f /usr/local/bin/python3").ok
    noise = 'for i in 1 2 3; do echo "llmctl-push {\'"; done\n'
    lab.write(lab.nodes[1], "/root/.bashrc", noise)
    told = result(lab, weights, "node1", "node2", "--to", "/tmp/noise", code=5)
    assert "there is no python3" in told["nodes"][0]["error"]
    assert told["nodes"][1]["state"] == "copied"


def test_a_login_shell_that_hangs_is_told_as_that(three: Lab, weights: Path) -> None:
    with hostile(three, three.nodes[1]) as make:
        make(f"echo 'sleep 100' > {BASHRC}")
        told = result(three, weights, "node1", "node2", "--to", "/tmp/hangs", code=5)
    assert [node["state"] for node in told["nodes"]] == ["copied", "failed"]
    assert "the login shell does not come to our command" in told["nodes"][1]["error"]


def test_a_second_push_to_the_same_place_is_refused_while_the_first_one_lives(at_three: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    parcel = survey_parcel(tmp_path / "file", print)
    node = Node(name="node1")
    link = connect(node)
    try:
        place = Place(link=link, target=resolve(node), path="/tmp/twice/file")
        prepare(place, parcel, replace=False, verify=False, tell=print)
        with guarded(place):
            done = result(at_three, tmp_path / "file", "node1", "--to", "/tmp/twice/", code=5)
        assert "another push is writing there" in done["nodes"][0]["error"]
    finally:
        link.close()
    assert result(at_three, tmp_path / "file", "node1", "--to", "/tmp/twice/")["nodes"][0]["state"] == "copied"
