"""What `llmctl report` costs on a log of 1,000 points, in CPU seconds of the whole process.

`python -m bench.report_command` from the root of the checkout; exits 1 above the limits. The smallest of three runs
counts: what else the machine does can only add.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

LIMITS = {"": 1.0, "md": 1.0, "json": 1.0, "csv": 1.0, "html,png": 2.5}
"""`--format` (none: the usual files) -> CPU seconds."""
POINTS = 1000


def write_log(path: Path, factor: float) -> Path:
    """A Megatron log."""
    noise = random.Random(path.name)
    path.write_text(
        "".join(
            f" iteration {n}/ {POINTS} | consumed samples: {8 * n} | elapsed time per iteration (ms): "
            f"{500 + noise.random():.1f} | learning rate: 1.0E-05 | global batch size: 8 | lm loss: "
            f"{factor * (2 + 1 / n**0.5 + noise.random() / 20):.6E} | loss scale: 1.0 | grad norm: 1.1 |\n"
            for n in range(1, POINTS + 1)
        ),
        encoding="utf-8",
    )
    return path


def cpu_seconds(folder: Path, formats: str) -> float:
    """User and system time of one report."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [
        "report",
        "run.log",
        "--compare",
        "reference.log",
        "-o",
        "out",
        *(["--format", formats] if formats else []),
    ]
    subprocess.run([sys.executable, "-m", "llmctl", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print a line a format; 1 when one is too slow."""
    slow = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for log, factor in (("run.log", 1.0), ("reference.log", 1.001)):
            write_log(folder / log, factor)
        for formats, limit in LIMITS.items():
            seconds = min(cpu_seconds(folder, formats) for _ in range(3))
            slow += seconds > limit
            print(f"{formats or 'html,md,json,csv':18} {seconds:5.2f} s CPU, at most {limit:g}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
