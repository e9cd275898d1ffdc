"""A run of the small rank whose nodes are hurt, and what every fault has in common afterwards."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import llmctl
from tests.lab import Lab, LabNode
from tests.workflows.jobs import Started, only_run, write_recipe

SMALLRANK = Path(__file__).with_name("smallrank.py")
PYTHON = "/opt/smallrank/python"
"""Where the small rank stands on the nodes."""
SAVE_STEPS = 5
ENDLESS = 100_000
"""Steps of a run that does not end by itself within a test."""
LEASES = "/tmp/llmctl-leases/*"
HELD = "/run/held"
PARTIAL = r"\( -name '*.partial' -o -name '*.part' -o -name '.writing' -o -name '*.old' -o -name '*.json.[0-9]*' \)"
"""Names of half-done things."""


def install(lab: Lab) -> None:
    """Put the small rank on all nodes."""
    text = SMALLRANK.read_text(encoding="utf-8")
    for node in lab.nodes:
        lab.write(node, PYTHON, f"#!{lab.python} -S\n{text}", mode="755")


def until(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until `condition` gives something true, and give that. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return found


def stretch() -> float:
    """How many seconds a second of work takes now: 1 where this machine does nothing else."""
    before, began = _worked(), time.monotonic()
    subprocess.run([sys.executable, "-c", "import asyncio, email.parser, http.client, xml.dom.minidom"], check=True)
    return max(1.0, (time.monotonic() - began) / max(0.01, _worked() - before))


def _worked() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass
class Drill:
    """One run on a lab, from its recipe to its end."""

    lab: Lab
    folder: Path
    steps: int = ENDLESS
    name: str = "drill"
    sections: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the recipe's blocks that differ."""
    engine: bool = False
    """The real engine with ZeRO-2 instead of the small rank; it cannot be given orders."""
    began: float = field(default_factory=time.monotonic)
    started: Started | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def recipe(self) -> Path:
        """The recipe's file."""
        train: dict[str, Any] = {"max_steps": self.steps, "save_steps": SAVE_STEPS, "save_total_limit": 2}
        cluster = {"nodes": [node.name for node in self.lab.nodes[:2]]}
        sections: dict[str, Any] = {"train": train, "cluster": cluster}
        if self.engine:
            sections["deepspeed"] = {"stage": 2}
        else:
            cluster["python"] = PYTHON
            sections["model"] = {"init": {"model_type": "llama", "vocab_size": 600}}
        for key, values in self.sections.items():
            sections[key] = {**sections.get(key, {}), **values}
        return write_recipe(self.folder, self.lab, name=self.name, **sections)

    def start(self, *words: str) -> Started:
        """`llmctl run` in the background."""
        self.started = Started(
            self.recipe(), self.lab, "--runs", str(self.runs), *words, backlog=self.folder / f"{self.name}.out"
        )
        return self.started

    def detach(self) -> None:
        """`llmctl run --detach`, to its end."""
        llmctl("run", self.recipe(), "--runs", self.runs, "--detach", env=self.lab.env, code=0)

    @property
    def runs(self) -> Path:
        return self.folder / f"runs-{self.name}"

    @property
    def run(self) -> Path:
        """The run's folder on the launcher."""
        return only_run(self.runs)

    @property
    def run_dir(self) -> str:
        """The run's folder on the nodes."""
        workdir = dict(self.sections.get("cluster", {})).get("workdir", self.lab.nodes[0].workdir)
        return f"{workdir}/runs/{self.run.name}"

    @property
    def text(self) -> str:
        """What the user was told so far, on both streams."""
        assert self.started is not None
        return self.started.text

    @property
    def manifest(self) -> dict[str, Any]:
        """The run's record; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads((self.run / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def records(self, node: LabNode | None = None) -> list[int]:
        """The steps that were recorded on the first node, or that were collected when that node is down."""
        try:
            text = self.lab.read(node or self.lab.nodes[0], f"{self.run_dir}/output/steps.jsonl") or ""
        except (RuntimeError, OSError):
            text = (self.run / "output" / "steps.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line["step"] for line in lines if line["record"] == "step"]

    def saved(self, *nodes: LabNode) -> int:
        """The newest step of which all `nodes`, without any those of the run, have a good checkpoint; 0 for none."""
        found = []
        for node in nodes or self.lab.nodes[:2]:
            listed = self.lab.exec(node, f"ls {self.run_dir}/output/checkpoint-*/llmctl_checkpoint.json").stdout
            found.append({int(line.split("checkpoint-")[1].partition("/")[0]) for line in listed.split()})
        return max(set.intersection(*found), default=0)

    def until_step(self, step: int, seconds: float = 90) -> None:
        """Wait until the run has made `step`."""

        def reached() -> bool:
            over = self.started is not None and self.started.process.poll() is not None
            there = self.runs.is_dir() and any(self.runs.iterdir()) and max(self.records(), default=0) >= step
            assert there or not over, self.text
            return there

        until(f"step {step}", reached, seconds)

    def until_goes_on(self, step: int, seconds: float = 30) -> None:
        """Wait until the run has made `step` without anybody at the launcher."""
        until(f"step {step}", lambda: max(self.records(), default=0) >= step, seconds)

    def order(self, rank: int, text: str, node: LabNode | None = None) -> None:
        """Tell a rank what to do at its next step; with one rank a node, rank N is on node N+1."""
        place = f"{self.run_dir}/orders/rank{rank}"
        self.lab.write(node or self.lab.nodes[rank], place + ".new", text)
        self.lab.exec(node or self.lab.nodes[rank], f"mv {place}.new {place}")

    def pids(self, node: LabNode, words: str) -> list[int]:
        """Processes of this run on a node whose command line holds `words`, the oldest first."""
        script = (
            f"for p in $(pgrep -f -- '{words}'); do "
            f"grep -qaz '^LLMCTL_RUN_ID={self.run.name}$' /proc/$p/environ 2>/dev/null && echo $p; done; true"
        )
        return [int(word) for word in self.lab.exec(node, script).stdout.split()]

    def supervisor(self, node: LabNode) -> int:
        """The supervisor's pid on a node."""
        state = json.loads(self.lab.read(node, f"{self.run_dir}/state/{node.name}.json") or "{}")
        return int(state["supervisor"]["pid"])

    def kill(self, node: LabNode, pid: int, signum: int = 9) -> None:
        """Send a signal inside a node."""
        assert self.lab.exec(node, f"kill -{signum} {pid}").ok

    def hold(self, node: LabNode, program: str, word: str) -> None:
        """Let `program` on a node wait, once it is called with arguments that hold `word`."""
        wait = f"touch {HELD}; while [ -e {HELD} ]; do sleep 0.1; done"
        script = f'#!/bin/sh\ncase "$*" in *{word}*) {wait};; esac\nexec /usr/bin/{program} "$@"\n'
        self.lab.write(node, f"/usr/local/bin/{program}", script, mode="755")

    def held(self, node: LabNode) -> None:
        """Wait until that has come to pass."""
        until(f"something is held on {node.name}", lambda: self.lab.exec(node, f"ls {HELD}").ok, 60)

    def release(self, node: LabNode, program: str) -> None:
        """Let it go on."""
        self.lab.exec(node, f"rm -f /usr/local/bin/{program} {HELD}")

    def hurt(self) -> None:
        """From now on it counts how long it takes until the user is told."""
        self.began = time.monotonic()

    def ends(self, code: int, *told: str, within: float, stretched: float = 1) -> float:
        """The command ends with `code`, having told each of `told`, in `within` seconds from the fault, each as long as
        `stretched` says; how long it was."""
        assert self.started is not None
        found = self.started.wait(max(1.0, within * stretched - (time.monotonic() - self.began)))
        took = time.monotonic() - self.began
        assert found == code, f"exit code {found}, wanted {code}\n{self.text}"
        for words in told:
            assert words in self.text, f"not told: {words}\n{self.text}"
        assert "defect of llmctl" not in self.text, self.text
        return took

    def keepers(self) -> list[int]:
        """Processes on the launcher that act for the run."""
        words = ["keep", str(self.run.resolve())]
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if [word.decode() for word in path.read_bytes().split(b"\0")[-3:-1]] == words:
                    found.append(int(path.parent.name))
        return found

    def ranks(self, node: LabNode) -> list[int]:
        """The ranks of the run on a node, without what started them."""
        agents = self.pids(node, "torch.distributed.[r]un")
        return [pid for pid in self.pids(node, "llmctl_engine [e]ngine.json") if pid not in agents]

    def left(self, *nodes: LabNode) -> list[str]:
        """Processes of the run and half-done files on `nodes`, all nodes without any, and who still acts for it."""
        chosen = nodes or self.lab.nodes
        found = self.left_processes(*chosen)
        for node in chosen:
            listed = self.lab.exec(node, f"find {self.lab.nodes[0].workdir} {PARTIAL} 2>/dev/null")
            leased = self.lab.exec(node, f"grep -l {self.run.name} {LEASES} 2>/dev/null")
            found += [f"{node.name}: {line}" for line in (listed.stdout + leased.stdout).splitlines()]
        return found

    def left_processes(self, *nodes: LabNode) -> list[str]:
        """Processes of the run on `nodes`, all nodes without any, and on the launcher."""
        found = [f"{node.name}: process {pid}" for node in nodes or self.lab.nodes for pid in self.pids(node, ".")]
        return [*found, *(f"launcher: keeper {pid}" for pid in self.keepers())]

    def abandon(self) -> None:
        """End what a row that failed left on the launcher."""
        if self.started is not None and self.started.process.poll() is None:
            self.started.process.kill()
            self.started.process.wait()
        if self.runs.is_dir() and any(self.runs.iterdir()):
            for keeper in self.keepers():
                os.kill(keeper, signal.SIGKILL)

    def lost_steps(self) -> int:
        """Steps that a continued run has to make again."""
        return max(self.records(), default=0) - self.saved()

    def continues(self, steps: int = 5) -> None:
        """`llmctl run --resume` takes it up from the last good checkpoint and makes `steps` more."""
        from_step = self.saved()
        until_step = from_step + steps
        done = llmctl(
            "run", "--resume", self.run, "--set", f"train.max_steps={until_step}", env=self.lab.env, code=0, timeout=240
        )
        wanted = f"continuing from checkpoint-{from_step}" if from_step else "starting from the beginning"
        assert wanted in done.stdout, done.stdout
        assert f"SUCCEEDED: {self.run.name}, {until_step} steps" in done.stdout
