"""Small jobs for the lab: a recipe over made-up rows and a model from scratch, that runs as long as a test wants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import llmctl
from tests.engine.runs import INIT, rows, write_data
from tests.lab import Lab


def write_recipe(folder: Path, lab: Lab, *, name: str = "job", **sections: Any) -> Path:
    """A recipe of 24 steps on all nodes of the lab, a process each; `sections` override keys of its blocks."""
    write_data(folder / "data", rows(48))
    recipe: dict[str, Any] = {
        "name": name,
        "cluster": {
            "device": "cpu",
            "nodes": [node.name for node in lab.nodes],
            "workdir": lab.nodes[0].workdir,
            "python": lab.python,
        },
        "launch": {"backend": "ssh", "launcher": "torchrun"},
        "model": {"init": dict(INIT)},
        "data": {"datasets": ["numbers"], "cutoff_len": 64, "packing": "none"},
        "train": {"epochs": 2, "micro_batch": 2, "learning_rate": 1e-3},
    }
    for key, value in sections.items():
        recipe[key] = {**recipe.get(key, {}), **value} if isinstance(value, Mapping) else value
    path = folder / f"{name}.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(recipe, file)
    return path


ENDLESS = {"epochs": 2000, "save_steps": 0}
"""Train settings of a run that does not end by itself within a test."""


class Started:
    """`llmctl run` in the background, its output read line by line."""

    def __init__(self, recipe: Path, lab: Lab, *words: str, backlog: Path) -> None:
        self.backlog = backlog
        self.output = backlog.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmctl", "run", str(recipe), *words],
            env=dict(lab.env),
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        return self.backlog.read_text(encoding="utf-8", errors="replace")

    def until(self, words: str, seconds: float = 90) -> None:
        """Wait for output that holds `words`. Fails when the process ends before, or in `seconds`."""
        import time

        deadline = time.monotonic() + seconds
        while True:
            over = self.process.poll() is not None  # asked first: what it printed at its end counts
            if words in self.text:
                return
            assert not over, self.text
            assert time.monotonic() < deadline, f"no {words!r} within {seconds} s:\n{self.text}"
            time.sleep(0.1)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float = 90) -> int:
        """The exit code."""
        try:
            return self.process.wait(timeout=seconds)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.output.close()


def only_run(runs: Path) -> Path:
    """The folder of the one run there is."""
    (run,) = (path for path in runs.iterdir() if path.is_dir())
    return run


def losses(run: Path) -> list[float]:
    """Of every step, the later record of one that was trained twice."""
    records = [json.loads(line) for line in (run / "output" / "steps.jsonl").read_text().splitlines()]
    return [loss for _, loss in sorted({r["step"]: r["loss"] for r in records if r["record"] == "step"}.items())]


def processes(lab: Lab, run_id: str) -> list[str]:
    """Command lines of everything on the lab's nodes that belongs to a run."""
    script = (
        "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ 2>/dev/null | grep -qx 'LLMCTL_RUN_ID=RUN' "
        "&& tr '\\0' ' ' < $p/cmdline && echo; done; true"
    ).replace("RUN'", f"{run_id}'")
    return [line for node in lab.nodes for line in lab.exec(node, script).stdout.splitlines() if line.strip()]


def status(lab: Lab, run: Path) -> dict[str, Any]:
    """What `llmctl status --json` says."""
    told: dict[str, Any] = json.loads(llmctl("status", run, "--json", env=lab.env, code=0).stdout)
    return told


Factory = Callable[..., Lab]
