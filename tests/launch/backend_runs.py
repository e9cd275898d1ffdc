"""Runs of any backend at the level of its verbs: real nodes, and a launcher of a test's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from llmctl.launch.backends import BACKENDS, Backend
from llmctl.launch.staging import Cargo, stage
from llmctl.launch.supervised import Job, NodeReport
from llmctl.quoting import sh_quote
from llmctl.remote.transport import Transport
from llmctl.workflows.live import open_all, reached_here
from llmctl.workflows.manifest import login_of
from llmctl.workflows.render import draft
from llmctl.workflows.starting import job_of
from tests.lab import Lab
from tests.lab.slurm import SlurmLab

GRACE = 3.0


@dataclass
class Site:
    """Two set-up nodes with a Slurm, and the launcher's environment."""

    lab: Lab
    slurm: SlurmLab

    def pids(self, run_id: str) -> list[int]:
        """Every process of a run, on all nodes and on this machine: /proc shows them all."""
        wanted, found = f"LLMCTL_RUN_ID={run_id}".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
        return found


@dataclass
class Run:
    """A job of a backend whose nodes run `part.sh RANK`."""

    site: Site
    backend: Backend
    job: Job
    transports: dict[str, Transport]
    offsets: dict[str, dict[str, int]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def look(self) -> dict[str, NodeReport]:
        """Every node's answer to `logs`; what is new is added to `texts`."""
        found = {}
        for node in self.job.nodes:
            found[node] = self.backend.logs(self.job, self.transports[node], self.offsets.get(node, {}))
            self.offsets.setdefault(node, {}).update(found[node].offsets)
            for name, text in found[node].texts.items():
                self.texts[name] = self.texts.get(name, "") + text
        return found

    def until(self, what: str, done: Callable[[dict[str, NodeReport]], bool]) -> dict[str, NodeReport]:
        """Look until `done`."""
        deadline = time.monotonic() + 60
        while not done(found := self.look()):
            assert time.monotonic() < deadline, f"{what}: {found}"
            time.sleep(0.1)
        return found

    @property
    def output(self) -> str:
        """What the launchers printed so far."""
        return "\n".join(text for name, text in self.texts.items() if name.endswith("launcher.log"))

    def until_all_begun(self) -> None:
        """Wait until the part of each node runs."""
        count = len(self.job.nodes)
        self.until("begun", lambda _: self.output.count(f"begin {self.job.run_id}") == count)


def submit(site: Site, name: str, part: str, folder: Path, **sections: Any) -> Run:
    """Hand the nodes a launcher that runs the shell lines `part`, whose $1 is the node's rank, and start it."""
    planned = draft(write_recipe(site, name, folder, **sections), runs=folder / "runs")
    login, job = login_of(planned.loaded.recipe), job_of(planned)
    transports = open_all(planned.nodes, login, local=reached_here(name, login))
    run_dir = sh_quote(job.run_dir)
    begin = f"cd {run_dir} && sh ./part.sh"
    launch = f'cd {run_dir} && exec sh ./part.sh "$1"'
    if name == "pdsh":
        remote = f"export LLMCTL_RUN_ID={job.run_id}; {begin} %n"
        launch = f"export PDSH_RCMD_TYPE=ssh\nexec pdsh -S -w {','.join(job.nodes)} {sh_quote(remote)}"
    files = {**planned.files, "launch.sh": launch + "\n", "part.sh": part + "\n"}
    staged = stage(job, Cargo(files, {}), transports, lambda _node, _what: None)
    assert [outcome.error for outcome in staged] == [None] * len(job.nodes)
    backend = BACKENDS[name]
    for outcome in backend.submit(job, transports):
        if outcome.error is not None:
            raise outcome.error
    return Run(site, backend, job, transports)


def write_recipe(site: Site, name: str, folder: Path, **sections: Any) -> Path:
    """A recipe for a backend; `sections` override keys of its blocks."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "rows.json").write_text(json.dumps([{"instruction": "a", "input": "", "output": "b"}]))
    workdir = str(site.slurm.shared) if name == "slurm" else site.lab.nodes[0].workdir
    where = {"nodes": [node.name for node in site.lab.nodes], "workdir": workdir} if name != "local" else {}
    recipe: dict[str, Any] = {
        "name": f"contract-{name}",
        "cluster": {"device": "cpu", "python": site.lab.python, **where},
        "launch": {"backend": name, "launcher": "deepspeed" if name == "pdsh" else "torchrun"},
        "model": {"init": {"model_type": "llama", "vocab_size": 600}},
        "data": {"datasets": ["rows"]},
    }
    for key, values in sections.items():
        recipe[key] = {**recipe.get(key, {}), **values}
    path = folder / "recipe.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(recipe, file)
    return path
