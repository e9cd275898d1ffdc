"""Runs of the small rank on this machine, for what is asked of a run while it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import llmctl
from tests.faults.harness import ENDLESS, SMALLRANK, until


class Running:
    """A command in the background, with what it printed so far on both streams."""

    def __init__(self, argv: list[str], env: Mapping[str, str], backlog: Path) -> None:
        self._backlog = backlog
        self._output = backlog.open("w")
        self.process = subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
        )

    @property
    def text(self) -> str:
        return self._backlog.read_text(encoding="utf-8", errors="replace")

    def until(self, pattern: str, seconds: float = 60) -> None:
        """Wait for output in which `pattern` is found."""

        def there() -> bool:
            over = self.process.poll() is not None  # asked first: what it printed at its end counts
            found = re.search(pattern, self.text) is not None
            assert found or not over, f"it ended without {pattern!r}:\n{self.text}"
            return found

        until(f"{pattern!r} in the output", there, seconds)

    def send(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def ends(self, seconds: float = 60) -> int:
        """Its exit code."""
        try:
            return self.process.wait(timeout=seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._output.close()


@dataclass
class LocalJob:
    """One recipe of the local backend, in a folder with a home and runs of its own."""

    folder: Path
    steps: int = ENDLESS
    env: dict[str, str] = field(init=False)
    _started: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.env = {**os.environ, "LLMCTL_HOME": str(self.folder / "home"), "LLMCTL_RUNS": str(self.runs)}
        python = self.folder / "python"
        python.write_text(f"#!{sys.executable} -S\n{SMALLRANK.read_text(encoding='utf-8')}", encoding="utf-8")
        python.chmod(0o755)
        (self.folder / "data").mkdir()
        (self.folder / "data" / "rows.json").write_text('[{"instruction": "count", "input": "", "output": "on"}]')
        recipe = {
            "name": "local",
            "cluster": {"device": "cpu", "python": str(python)},
            "launch": {"backend": "local"},
            "model": {"init": {"model_type": "llama", "vocab_size": 600}},
            "data": {"datasets": ["rows"]},
            "train": {"max_steps": self.steps, "save_steps": 5, "save_total_limit": 2},
        }
        self.recipe.write_text(json.dumps(recipe))  # JSON is YAML

    @property
    def recipe(self) -> Path:
        return self.folder / "r.yaml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def run(self) -> Path:
        """The folder of the only run."""
        (run,) = self.runs.iterdir()
        return run

    @property
    def state(self) -> str:
        """What the manifest says."""
        return str(json.loads((self.run / "manifest.json").read_text(encoding="utf-8"))["state"])

    @property
    def step(self) -> int:
        """The last step that was recorded, 0 before the first."""
        records = self.run / "output" / "steps.jsonl"
        text = records.read_text(encoding="utf-8") if records.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()  # the last one may still be written
        return max((json.loads(line).get("step", 0) for line in whole), default=0)

    def tell(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return llmctl(*words, env=self.env, code=code)

    def start(self, *words: str | Path) -> Running:
        """A command in the background."""
        argv = [sys.executable, "-m", "llmctl", *map(str, words)]
        self._started.append(Running(argv, self.env, self.folder / f"out{len(self._started)}"))
        return self._started[-1]

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line of sh, in which $LLMCTL is the command."""
        env = {**self.env, "LLMCTL": f"{sys.executable} -m llmctl"}
        return subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, timeout=120, check=False)

    def order(self, text: str) -> None:
        """Tell rank 0 what to do at its next step."""
        place = self.run / "orders"
        place.mkdir(exist_ok=True)
        (place / "new").write_text(text)
        (place / "new").rename(place / "rank0")

    def processes(self) -> list[int]:
        """What lives of the run."""
        wanted = f"LLMCTL_RUN_ID={self.run.name}".encode()
        return [pid for pid, environment in _environments() if wanted in environment.split(b"\0")]

    def close(self) -> None:
        """End whatever is left of the run and of the commands."""
        for running in self._started:
            running.kill()
        if self.runs.is_dir():
            for run in self.runs.iterdir():
                if json.loads((run / "manifest.json").read_text(encoding="utf-8"))["state"] in ("STAGING", "RUNNING"):
                    llmctl("cancel", run, env=self.env)


def _environments() -> list[tuple[int, bytes]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found.append((int(path.parent.name), path.read_bytes()))
        except OSError:
            continue
    return found
