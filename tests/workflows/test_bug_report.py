"""The archive of a run that is shown to others: what is in it, and what must not be."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from llmctl.launch.supervised import Job
from llmctl.run.folder import RunFolder
from llmctl.run.states import State
from llmctl.workflows.bug_pieces import ALL_LOGS, pieces
from llmctl.workflows.bug_report import bug_report
from llmctl.workflows.manifest import first_manifest, note_state
from llmctl.workflows.render import draft
from tests.conftest import RunLlmctl
from tests.engine.runs import INIT, rows, write_data

TOKEN = "hf_" + "QwErTy12" * 4
ODD = "pa ss'wo\"rd$HOME\\x 密码"
KEY = "MIIEowIBAAKCAQEAx7" * 3
URL = "uRlPaSsW0rd"
SHELL = "fromtheshell4711"
CRASH = "crashpassword99"
PLANTED = (TOKEN, "QwErTy12QwEr", ODD, "pa ss'wo", KEY, URL, SHELL, CRASH, "diffsecret-1234")


def make_run(folder: Path, home: Path) -> RunFolder:
    """A run of two nodes as `llmctl run` leaves it, with secrets where people put them."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "d.json").write_text(json.dumps([{"instruction": "Q", "output": "A"}]))
    recipe: dict[str, Any] = {
        "name": "leaky",
        "cluster": {
            "device": "cpu",
            "nodes": ["alice@gpu-alpha=10.77.0.1", "gpu-beta=10.77.0.2"],
            "workdir": "/home/alice/work",
            "env": {"HF_TOKEN": TOKEN, "DB_PASSWORD": ODD, "LR_NOTE": "harmless"},
        },
        "launch": {"backend": "pdsh", "launcher": "deepspeed"},
        "model": {"init": {"model_type": "llama"}},
        "data": {"datasets": ["d"]},
        "deepspeed": {"stage": 2},
    }
    source = folder / "leaky.yaml"
    source.write_text(json.dumps(recipe))
    plan = draft(source)
    run = RunFolder(folder / "runs" / plan.plan.run_id)
    for name, text in plan.files.items():
        path = run.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    nodes = tuple(node.name for node in plan.nodes)
    job = Job(run_id=run.run_id, run_dir=plan.plan.paths.run_dir, nodes=nodes, python="python3", shell="sh")
    manifest = first_manifest(plan, job, sets=["cluster.env.HF_TOKEN=" + TOKEN], allowed=[])
    manifest["git"] = {"commit": "abc", "diff": '+api_key = "diffsecret-1234"\n+print(1)\n'}
    note_state(run, State.FAILED, **manifest)
    for node in nodes:
        facts = [
            {"name": "network.hostname", "node": node, "value": f"{node}.internal", "source": "hostname"},
            {"name": "user.name", "node": node, "value": "bob", "source": "id"},
            {"name": "environment", "node": node, "value": {"HF_TOKEN": TOKEN, "NCCL_DEBUG": "INFO"}},
        ]
        run.facts(node).parent.mkdir(parents=True, exist_ok=True)
        run.facts(node).write_text(json.dumps(facts))
        run.logs(node).mkdir(parents=True)
        filler = "".join(f"step {number} loss 0.5 on {node}\n" for number in range(40_000))
        (run.logs(node) / "rank0.log").write_text(
            f"cloning https://me:{URL}@git.internal/x.git\nexport DB_PASSWORD={ODD}\nAuthorization: Bearer {KEY}\n"
            + f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}\n" * 2000
            + filler
            + f"{KEY}\n" * 2000
            + f"-----END RSA PRIVATE KEY-----\nRuntimeError: token {TOKEN} refused at 10.77.0.2\n"
        )
        (run.logs(node) / "launcher.log").write_text(f"SHELL_API_KEY={SHELL} torchrun\n" + "x" * 600_000)
    (run.output).mkdir()
    (run.output / "steps.jsonl").write_text('{"record": "step", "step": 1, "loss": 0.25, "tokens": 77}\n')
    (run.root / "core").write_bytes(b"\0" * 100 + TOKEN.encode())
    (run.root / "link").symlink_to("/etc/passwd")
    (home / "crash").mkdir(parents=True)
    (home / "crash" / "20260101-000000.txt").write_text(f"Traceback\npassword={CRASH}\n")
    return run


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "LLMCTL_HOME": str(tmp_path / "home"), "MY_API_KEY": SHELL, "HOME": str(tmp_path / "carol")}


@pytest.fixture
def run(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("LLMCTL_HOME", env["LLMCTL_HOME"])
    return make_run(tmp_path / "carol" / "pro ject", tmp_path / "home")


def unpacked(path: Path) -> dict[str, str]:
    """Relative name -> text of every file of an archive."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert {(member.uid, member.gid, member.uname, member.mode) for member in members} == {(0, 0, "", 0o600)}
        assert all(member.isfile() for member in members)
        read = {member.name: archive.extractfile(member) for member in members}
        return {name.split("/", 1)[1]: file.read().decode() for name, file in read.items() if file is not None}


def test_no_planted_secret_is_in_the_archive(
    run: RunFolder, env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    archive = tmp_path / "a b" / "report.tar.gz"
    archive.parent.mkdir()
    done = run_llmctl("bug-report", run.run_id, "-o", archive, env=env, code=0)
    assert archive.stat().st_mode & 0o777 == 0o600
    files = unpacked(archive)
    for name, text in files.items():
        for secret in PLANTED:
            assert secret not in text, f"{secret} in {name}"
            assert json.dumps(secret)[1:-1] not in text, f"{secret} in {name}"
            assert json.dumps(secret, ensure_ascii=False)[1:-1] not in text, f"{secret} in {name}"
        assert "root:x:0" not in text
    wanted = {
        *("recipe.yaml", "manifest.json", "hostfile", "engine.json", "ds_config.json", "launch.sh", "env.sh"),
        *("env/gpu-alpha.json", "env/gpu-beta.json", "logs/gpu-alpha/rank0.log", "logs/gpu-beta/launcher.log"),
        *("output/steps.jsonl", "versions.json", "doctor.json", "crash/20260101-000000.txt", "CONTENTS.txt"),
    }
    assert wanted <= files.keys()
    assert not {"core", "link"} & files.keys()
    for word in ("core", "not taken: it is no text", "not taken: it is a link", str(archive), "before you send"):
        assert word in done.stdout
    assert all(name in files["CONTENTS.txt"] for name in files if name != "CONTENTS.txt")


def test_what_is_needed_is_still_there(
    run: RunFolder, env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    done = run_llmctl("bug-report", run.root, "-o", tmp_path / "r.tar.gz", "--json", env=env, code=0)
    files = unpacked(tmp_path / "r.tar.gz")
    told = {entry["name"]: entry for entry in json.loads(done.stdout)["files"]}
    log = files["logs/gpu-alpha/rank0.log"]
    assert "cloning https://[masked]@git.internal/x.git" in log
    assert "RuntimeError: token [masked] refused at 10.77.0.2" in log
    assert f"[{told['logs/gpu-alpha/rank0.log']['left_out']} bytes are left out here]" in log
    assert len(log) < 300_000
    assert told["logs/gpu-alpha/rank0.log"]["masked"] >= 4
    for name in ("manifest.json", "env/gpu-alpha.json", "versions.json", "engine.json", "ds_config.json"):
        json.loads(files[name])
    assert json.loads(files["manifest.json"])["state"] == "FAILED"
    assert "harmless" in files["env.sh"]
    assert "gpu-beta slots=1" in files["hostfile"]
    assert '"tokens": 77' in files["output/steps.jsonl"]
    assert {row["what"] for row in json.loads(files["doctor.json"])} >= {"ssh", "clock", "disk.runs"}
    assert "llmctl" in json.loads(files["versions.json"])


def test_anonymous_hides_machines_and_people(
    run: RunFolder, env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    archive = tmp_path / "r.tar.gz"
    run_llmctl("bug-report", run.run_id, "-o", archive, "--anonymous", env=env, code=0)
    files = unpacked(archive)
    hidden = ("gpu-alpha", "gpu-beta", "10.77.0.1", "10.77.0.2", "alice", "bob", "carol", *PLANTED)
    for name, text in files.items():
        for word in hidden:
            assert word not in name
            assert word not in text, f"{word} in {name}"
    assert "logs/host1/rank0.log" in files
    assert "logs/host2/rank0.log" in files
    assert "on host2" in files["logs/host2/rank0.log"]
    assert "host1" in files["hostfile"]


def test_an_archive_is_never_overwritten(
    run: RunFolder, env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl
) -> None:
    run_llmctl("bug-report", env=env, cwd=tmp_path, code=0)
    made = tmp_path / f"{run.run_id}.bug-report.tar.gz"
    before = made.read_bytes()
    note_state(run, State.RUNNING)
    assert "still on the nodes" in run_llmctl("bug-report", "-o", tmp_path / "x", env=env, cwd=tmp_path, code=0).stdout
    again = run_llmctl("bug-report", env=env, cwd=tmp_path, code=2)
    assert "cannot be written" in again.stderr
    assert "-o FILE" in again.stderr
    assert made.read_bytes() == before
    assert "no run 'nope'" in run_llmctl("bug-report", "nope", env=env, cwd=tmp_path, code=2).stderr


def test_a_report_that_breaks_off_leaves_nothing(run: RunFolder, tmp_path: Path) -> None:
    def stop(name: str) -> None:
        raise KeyboardInterrupt

    made = tmp_path / "r.tar.gz"
    with pytest.raises(KeyboardInterrupt):
        bug_report(run.run_id, runs=None, output=made, anonymous=False, tell=stop)
    assert not made.exists()


def test_many_logs_share_one_bound(tmp_path: Path) -> None:
    for node in range(8):
        folder = tmp_path / "logs" / f"node{node}"
        folder.mkdir(parents=True)
        for rank in range(8):
            (folder / f"rank{rank}.log").write_text("first line\n" + "x" * 99 + "\n" + "y\n" * 200_000 + "last line\n")
    taken = [piece for piece in pieces(tmp_path) if piece.name.startswith("logs/")]
    assert len(taken) == 64
    assert sum(len(part) for piece in taken for part in piece.parts) <= ALL_LOGS
    assert all(piece.parts[0].startswith("first line\n") for piece in taken)
    assert all(piece.parts[-1].endswith("last line\n") for piece in taken)
    size = (tmp_path / "logs" / "node0" / "rank0.log").stat().st_size
    assert taken[0].left_out == size - sum(map(len, taken[0].parts))


def test_half_a_secret_at_a_cut_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "logs" / "n").mkdir(parents=True)
    log = tmp_path / "logs" / "n" / "rank0.log"
    log.write_text("a" * (64 * 1024 - 10) + TOKEN + "b" * 400_000 + TOKEN + "c" * (192 * 1024 - 10))
    (piece,) = pieces(tmp_path)
    assert set("".join(piece.parts)) == {"a", "c"}


@pytest.mark.engine
def test_a_real_run_is_packed_without_what_it_knew(tmp_path: Path, env: dict[str, str], run_llmctl: RunLlmctl) -> None:
    write_data(tmp_path / "data", rows(8))
    recipe = {
        "name": "real",
        "cluster": {
            "device": "cpu",
            "env": {"HF_TOKEN": ODD},
            "activate": ["echo cloning with $HF_TOKEN", f"echo password: {URL}"],
        },
        "launch": {"backend": "local"},
        "model": {"init": dict(INIT)},
        "data": {"dir": "data", "datasets": ["numbers"], "cutoff_len": 64, "packing": "none"},
        "train": {"max_steps": 2},
    }
    (tmp_path / "real.yaml").write_text(json.dumps(recipe))
    env["LLMCTL_RUNS"] = str(tmp_path / "runs")
    done = run_llmctl("run", tmp_path / "real.yaml", env=env, cwd=tmp_path, code=0)
    (folder,) = (tmp_path / "runs").glob("real-*")
    logs = "".join(path.read_text() for path in folder.glob("logs/*/*.log"))
    assert URL in logs + done.stdout
    run_llmctl("bug-report", "-o", tmp_path / "r.tar.gz", env=env, cwd=tmp_path, code=0)
    files = unpacked(tmp_path / "r.tar.gz")
    assert {"recipe.yaml", "manifest.json", "logs/localhost/rank0.log", "env/localhost.json"} <= files.keys()
    assert '"record": "step"' in files["output/steps.jsonl"]
    for name, text in files.items():
        for secret in (ODD, json.dumps(ODD)[1:-1], URL, SHELL):
            assert secret not in text, f"{secret} in {name}"
