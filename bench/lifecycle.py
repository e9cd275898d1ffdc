"""How long one waits for `ps`, `status` and `cancel` of a run on real sshd nodes of this machine.

`python -m bench.lifecycle` from the root of the checkout, as root: a rank of the standard library on each of 2 and of
64 nodes, which share this machine's files and have processes of their own. Medians; exits 1 beyond the limits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.farm import Farm, farm
from llmctl.checks.facts import Finding
from llmctl.launch.backends import BACKENDS
from llmctl.remote.inventory import load_inventory, save_inventory
from llmctl.run.folder import RunFolder
from llmctl.run.states import State
from llmctl.workflows.keeping import leave_keeper
from llmctl.workflows.live import Live, open_all
from llmctl.workflows.manifest import first_manifest, note_state
from llmctl.workflows.run import RunRequest, work_out
from llmctl.workflows.starting import bring_up, job_of

PS = 0.2
STATUS = {2: 1.0, 64: 5.0}
CANCEL = {2: 10.0, 64: 15.0}
"""Seconds by the number of nodes."""
SMALLRANK = Path(__file__).parent.parent / "tests" / "faults" / "smallrank.py"
SILENT = "127.0.9.9"
CHOOSE = """#!/bin/sh
case "$*" in *llmctl_engine*) exec {rank} "$@" ;; *) exec {python} "$@" ;; esac
"""
"""The interpreter of the nodes: the small rank costs as much to start as all that is measured."""


class Quiet:
    """Nobody is told how the start goes on."""

    def step(self, text: str) -> None: ...

    def findings(self, findings: Sequence[Finding]) -> None: ...


@dataclass
class Site:
    """A recipe for the nodes of a farm."""

    folder: Path
    nodes: Farm
    times: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def write(self) -> None:
        """The recipe, its one row of data, and the small rank as interpreter of the nodes."""
        rank, python = self.folder / "rank", self.folder / "python"
        rank.write_text(f"#!{sys.executable} -S\n{SMALLRANK.read_text(encoding='utf-8')}", encoding="utf-8")
        python.write_text(CHOOSE.format(rank=rank, python=sys.executable), encoding="utf-8")
        for program in (rank, python):
            program.chmod(0o755)
        (self.folder / "data").mkdir()
        (self.folder / "data" / "rows.json").write_text('[{"instruction": "count", "output": "on"}]', encoding="utf-8")
        cluster = {"device": "cpu", "nodes": list(self.nodes.names), "workdir": str(self.folder / "work")}
        recipe = {
            "name": "bench",
            "cluster": {**cluster, "python": str(python), "env": {"SMALLRANK_STEP": "1"}},
            "launch": {"backend": "ssh"},
            "model": {"init": {"model_type": "llama", "vocab_size": 600}},
            "data": {"datasets": ["rows"]},
            "train": {"max_steps": 100_000},
        }
        (self.folder / "r.yaml").write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML

    def llmctl(self, label: str, *words: str, code: int = 0) -> str:
        """Run a command and note what it took. Raises RuntimeError for another exit code."""
        env = {**os.environ, "LLMCTL_HOME": str(self.nodes.home), "LLMCTL_RUNS": str(self.folder / "runs")}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        argv = [sys.executable, "-m", "llmctl", *words]
        done = subprocess.run(argv, env=env, cwd=self.folder, capture_output=True, text=True, check=False)
        self.times.setdefault(label, []).append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.setdefault(label, []).append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode != code:
            raise RuntimeError(f"llmctl {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> Path:
        """A run that is kept in the background. Without the check, which is measured elsewhere and finds that the nodes
        are one machine."""
        os.environ["LLMCTL_HOME"] = str(self.nodes.home)
        planned = work_out(RunRequest(source=str(self.folder / "r.yaml"), runs=self.folder / "runs"))
        folder, job = RunFolder(self.folder / "runs" / planned.plan.run_id), job_of(planned)
        login = {"user": None, "port": None}
        transports = open_all(planned.nodes, login, local=False)
        live = Live(
            folder=folder,
            job=job,
            backend=BACKENDS["ssh"],
            nodes=planned.nodes,
            transports=transports,
            login=login,
            local=False,
        )
        note_state(folder, State.STAGING, **first_manifest(planned, job, sets=(), allowed=()))
        bring_up(live, planned, Quiet())
        note_state(folder, State.RUNNING)
        live.close()
        leave_keeper(folder)
        _await_step(job.run_id, Path(job.run_dir) / "output" / "steps.jsonl")
        return folder.root

    def round(self, times: int) -> None:
        """One run: `times` questions, and the cancel."""
        run = self.start()
        for _ in range(times):
            self.llmctl("ps", "ps")
            told = json.loads(self.llmctl("status", "status", run.name, "--json"))
            assert all(node["answers"] and node["state"] == "RUNNING" for node in told["nodes"]), told
        with self.one_silent() as name:
            for _ in range(times):
                told = json.loads(self.llmctl("status, one node silent", "status", run.name, "--json", code=5))
                away = [node for node in told["nodes"] if not node["answers"]]
                assert [(node["node"], node["state"]) for node in away] == [(name, "RUNNING")], told
        self.llmctl("cancel", "cancel", run.name)

    @contextmanager
    def one_silent(self) -> Iterator[str]:
        """The last node at an address where nothing answers, for new connections."""
        name, place = self.nodes.names[-1], self.nodes.home / "nodes.yaml"
        known = load_inventory(place)
        with silent_port(SILENT) as port:
            save_inventory({**known, name: replace(known[name], address=SILENT, port=port)}, place)
            try:
                yield name
            finally:
                save_inventory(known, place)


@contextmanager
def silent_port(address: str) -> Iterator[int]:
    """A port whose queue is full: the kernel drops what comes, as a machine does that is off."""
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen(0)
        port = server.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((address, port))
            yield port
        finally:
            for filler in fillers:
                filler.close()


def _await_step(run_id: str, records: Path) -> None:
    deadline = time.monotonic() + 120
    while not (records.exists() and '"record": "step"' in records.read_text(encoding="utf-8")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{run_id} makes no step")
        time.sleep(0.2)


def main() -> int:
    """Measure, print the table, compare with the limits."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--nodes", type=int, nargs="+", default=[2, 64])
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--questions", type=int, default=5, help="of each kind in a run")
    given = options.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    print("| nodes | command | wall s, median | largest | CPU s, median | limit |\n|--:|---|--:|--:|--:|--:|")
    beyond = False
    for count in given.nodes:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            folder = Path(name)
            (folder / "farm").mkdir()
            with farm(folder / "farm", count, alone=True) as nodes:
                site = Site(folder, nodes)
                site.write()
                for _ in range(given.runs):
                    site.round(given.questions)
        limits = {"ps": PS, "cancel": CANCEL.get(count), "status": STATUS.get(count)}
        limits["status, one node silent"] = limits["status"]
        for label, times in site.times.items():
            median, limit = statistics.median(times), limits.get(label)
            beyond = beyond or (limit is not None and median > limit)
            cells = [f"{median:.2f}", f"{max(times):.2f}", f"{statistics.median(site.cpu[label]):.2f}", limit or ""]
            print(f"| {count} | {label} | {' | '.join(map(str, cells))} |", flush=True)
    return int(beyond)


if __name__ == "__main__":
    sys.exit(main())
