"""What the supervisor costs a node: `python -m bench.supervisor [--seconds 60] [--processes 64]`.

It starts a run whose launcher has that many idle processes and prints ten lines a second, waits, and reads CPU time and
memory of supervisor and guardian from /proc. It exits 1 above 0.2 % of a core or 30 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmctl.resources import onnode_file

LIMIT_PERCENT = 0.2
LIMIT_MB = 30.0
LAUNCHER = """i=0; while [ $i -lt {processes} ]; do sleep 86400 & i=$((i+1)); done
while :; do echo "step $i of this run, and what a line of a log holds otherwise"; sleep 0.1; done
"""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, kind: str) -> float:
    """`Rss` or `Pss` (shared pages divided among those that share them)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith(kind + ":")) / 1024


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        (run / "launch.sh").write_text(LAUNCHER.format(processes=given.processes), encoding="utf-8")
        call = [sys.executable, "-S", "-I", str(onnode_file("supervisor.py"))]
        subprocess.run([*call, "start", folder, "here", "0", "sh", "bench"], check=True, capture_output=True)
        state = json.loads((run / "state" / "here.json").read_text(encoding="utf-8"))
        pids = [state["supervisor"]["pid"], state["guardian"]["pid"]]
        try:
            time.sleep(5)  # the start is not what a week costs
            before = sum(map(cpu_seconds, pids))
            began = time.monotonic()
            time.sleep(given.seconds)
            percent = 100 * (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - began)
            rss, pss = (sum(memory_mb(pid, kind) for pid in pids) for kind in ("Rss", "Pss"))
        finally:
            subprocess.run([*call, "cancel", folder, "here", "2", "bench"], check=True, capture_output=True)
    everything = sum(path.name.isdigit() for path in Path("/proc").iterdir())
    print(f"{given.processes} processes of the run, {everything} on the machine: {percent:.3f} % of a core, "
          f"{rss:.1f} MB RSS, {pss:.1f} MB PSS")  # fmt: skip
    return int(percent > LIMIT_PERCENT or rss > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
