"""What the check of many nodes costs this machine when the network costs nothing but time.

`python -m bench.scale` from the root of the checkout: 1000 nodes that answer after 200 ms; both rounds, judgement and
the printed text. Exits 1 beyond the limits.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

from bench.thousand import Village
from llmctl.checks.question import Question
from llmctl.cli.findings import show_facts, show_findings, show_remarks
from llmctl.workflows.check import check_nodes

WALL, CPU, MEMORY = 10.0, 3.0, 200.0
"""Seconds, seconds and MB for 1000 nodes of 200 ms with a fan-out of 64."""


def _peak() -> int:
    """The most memory of this process in kB; ru_maxrss would count what its parent had when it was started."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> int:
    """Measure this process; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds that a node needs for an answer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    village = Village.of(options.nodes, options.pause)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    result = check_nodes(village.nodes, village.transports(), Question())
    read = time.monotonic() - started
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        show_findings(result.findings)
        show_remarks(result.findings)
        show_facts(result.facts)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "nodes": options.nodes,
        "facts": len(result.facts),
        "findings": sorted({finding.code for finding in result.findings}),
        "errors": len(result.errors),
        "lines": shown.getvalue().count("\n"),
        "wall": round(wall, 2),
        "read": round(read, 2),
        "cpu": round((after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime), 2),
        "memory": round(_peak() / 1000, 1),
    }
    if options.json:
        print(json.dumps(told))
    else:
        print(
            f"{told['nodes']} nodes that answer after {options.pause * 1000:.0f} ms: {told['facts']} facts in "
            f"{told['lines']} lines; wall {told['wall']} s (limit {WALL:g}), CPU {told['cpu']} s (limit {CPU:g}), "
            f"memory {told['memory']} MB (limit {MEMORY:g}); Python {platform.python_version()}, {os.cpu_count()} "
            f"cores, load average {os.getloadavg()[0]:.1f}"
        )
    return int(wall > WALL or told["cpu"] > CPU or told["memory"] > MEMORY)


if __name__ == "__main__":
    sys.exit(main())
