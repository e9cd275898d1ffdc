"""What the check costs on 64 real sshd nodes, against pdsh and clush that run the same probe on the same nodes.

`python -m bench.fanout` from the root of the checkout. Median of alternating runs; CPU is the user and system time of
the client's own processes, not of sshd and the probes. Exits 1 beyond the limits.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.farm import Farm, farm
from bench.probe_round import full_probe
from llmctl.checks.probing import MARKS

CPU_LIMIT, WALL_LIMIT = 1 / 3, 1.1
"""Of the probe's round against pdsh with OpenSSH's own choice of key exchange."""
FEW, MANY = 8, 1000
PEER = "pdsh"
CURVE = "curve25519-sha256"


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Client:
    """A command line, its environment, and how many nodes its output shows."""

    argv: Sequence[str]
    env: dict[str, str]
    answers: Callable[[str], int]

    def measure(self, nodes: int) -> Cost:
        """One run. Raises RuntimeError unless every node has answered."""
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            self.argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        if self.answers(done.stdout) != nodes:
            raise RuntimeError(f"{self.argv[0]}: not {nodes} answers: {(done.stderr or done.stdout)[-2000:]}")
        return Cost((after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime), wall)


def _marks(out: str) -> int:
    return out.count(MARKS[1])


def _read(out: str) -> int:
    told = json.loads(out)
    return len(told["nodes"]) - len(told["errors"])


def clients(nodes: Farm, names: Sequence[str], clush: str | None) -> dict[str, Client]:
    """The tools by what the table calls them."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SSH_", "PDSH_", "LLMCTL_"))}
    own = {**env, "LLMCTL_HOME": str(nodes.home)}
    found = {
        "llmctl, the probe's round": Client([sys.executable, "-m", "bench.probe_round", *names], own, _marks),
        "llmctl check, all of it": Client([sys.executable, "-m", "llmctl", "check", *names, "--json"], own, _read),
    }
    line, hosts, width = _one_argument(), ",".join(names), str(len(names))
    for more, options in (("", ""), (f", {CURVE}", f" -o KexAlgorithms={CURVE}")):
        ssh = f"-F {nodes.ssh_config}{options}"
        pdsh = ["pdsh", "-R", "ssh", "-f", width, "-w", hosts, line]
        found[PEER + more] = Client(pdsh, {**env, "PDSH_SSH_ARGS_APPEND": ssh}, _marks)
        if clush:
            found["clush" + more] = Client([clush, "-f", width, "-o", ssh, "-w", hosts, line], env, _marks)
    return found


def _one_argument() -> str:
    """The probe as the peers can carry it."""
    command, stdin = full_probe()
    packed = base64.b64encode(gzip.compress(stdin, mtime=0)).decode()
    return f"echo {packed} | base64 -d | gzip -d | ({command})"


def in_turns(runs: dict[str, Client], nodes: int, rounds: int) -> dict[str, Cost]:
    """The medians; a busy machine is busy for all."""
    costs: dict[str, list[Cost]] = {label: [] for label in runs}
    for _ in range(rounds):
        for label, client in runs.items():
            costs[label].append(client.measure(nodes))
    return {
        label: Cost(statistics.median(each.cpu for each in some), statistics.median(each.wall for each in some))
        for label, some in costs.items()
    }


def main() -> int:
    """Print the two tables; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clush", default=shutil.which("clush"), help="clush of the package ClusterShell")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="llmctl-bench-") as name, farm(Path(name), options.nodes) as nodes:
        medians = in_turns(clients(nodes, nodes.names, options.clush), options.nodes, options.rounds)
        few_nodes = clients(nodes, nodes.names[:FEW], None)
        own = list(few_nodes)[:2]
        few = in_turns({label: few_nodes[label] for label in own}, FEW, options.rounds)
    print(
        f"Python {platform.python_version()}, paramiko {version('paramiko')}, {_ssh_version()}, {os.cpu_count()} "
        f"cores, load average {before:.1f} before, {options.rounds} rounds\n"
    )
    peer = medians[PEER]
    print(f"| {options.nodes} nodes | client CPU s | of pdsh's | wall s | of pdsh's |\n|---|--:|--:|--:|--:|")
    for label, cost in medians.items():
        ratios = cost.cpu / peer.cpu, cost.wall / peer.wall
        print(f"| {label} | {cost.cpu:.2f} | {ratios[0]:.2f} | {cost.wall:.1f} | {ratios[1]:.2f} |")
    print(f"\n| client CPU | {FEW} nodes, s | {options.nodes} nodes, s | a node, ms | {MANY} nodes, extrapolated, s |")
    print("|---|--:|--:|--:|--:|")
    for label in own:
        slope = (medians[label].cpu - few[label].cpu) / (options.nodes - FEW)
        many = few[label].cpu + slope * (MANY - FEW)
        print(f"| {label} | {few[label].cpu:.2f} | {medians[label].cpu:.2f} | {slope * 1000:.1f} | {many:.1f} |")
    probed = medians[own[0]]
    return int(probed.cpu > peer.cpu * CPU_LIMIT or probed.wall > peer.wall * WALL_LIMIT)


def _ssh_version() -> str:
    return subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]


if __name__ == "__main__":
    sys.exit(main())
