"""How fast logs are read, against `grep -c` and a plain loop over the lines of the same file in the same run.

`python -m bench.report_parse [--mb 1000]` from the root of the checkout. CPU seconds of one process for each; exits 1
below the limits. The files are written to a temporary folder first, which takes longer than reading them.
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from llmctl_reports.readers import read_log
from llmctl_reports.values import Meta, Points, RunLog
from llmctl_reports.verdict import compare

LIMITS = {"Megatron": 60, "HF Trainer output with bars": 30, "one line in a hundred": 200}
"""MB a second."""
MEMORY_LIMIT, COMPARE_LIMIT = 300, 10.0
"""MB for three million points; seconds for ten million."""


def megatron() -> Iterator[str]:
    """Iteration lines as MindSpeed-LLM prints them."""
    chance = random.Random(1)
    for n in range(1, 1 << 30):
        yield (
            f" [2026-01-01 00:00:00] iteration {n:8d}/ 9000000 | consumed samples: {n * 512:12d} | elapsed time per "
            f"iteration (ms): {1000 + 10 * chance.random():.1f} | throughput per GPU (TFLOP/s/GPU): 150.1 | learning "
            f"rate: 1.000000E-04 | global batch size:   512 | lm loss: {2 + chance.random():.6E} | loss scale: 1.0 | "
            f"grad norm: {chance.random():.3f} | num zeros: 0 | number of skipped iterations:   0 | number of nan "
            "iterations:   0 |\n"
        )


def trainer() -> Iterator[str]:
    """A dict a step, with the three redraws of its bar that go with it."""
    chance = random.Random(2)
    for n in range(1, 1 << 30):
        bar = "█" * 5 + " " * 5
        bars = (f"\r {n % 100:3d}%|{bar}| {n}/9000000 [{n}:00<10:00:00,  1.0{k}it/s]" for k in range(3))
        values = f"'loss': {2 + chance.random():.4f}, 'grad_norm': {chance.random():.6f}, 'learning_rate': 5e-05"
        yield "".join(bars) + f"\r{' ' * 40}\r{{{values}, 'epoch': {n / 1000:.2f}}}\n"


def sparse() -> Iterator[str]:
    """One iteration line in a hundred."""
    other = "INFO 2026-01-01 00:00:00 a line that a framework prints, with words and 12345 numbers in it\n" * 99
    for line in megatron():
        yield line
        yield other


def written(path: Path, lines: Iterator[str], size: float) -> Path:
    """The first `size` bytes of the lines."""
    done = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            done += len(line.encode())
            file.write(line)
            if done >= size:
                return path
    return path


def seconds(work: Callable[[], object]) -> float:
    """CPU time of this process and of the children that it waited for."""
    before = time.process_time() + _children()
    work()
    return time.process_time() + _children() - before


def plain(path: Path) -> int:
    """Line by line, as a script would: how many lines hold a loss."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return sum("loss" in line for line in file)


def alone(path: Path) -> tuple[float, int, int]:
    """(CPU seconds, points, MB of memory at most) of a process that reads this file and nothing else."""
    code = "import sys; from bench.report_parse import measured; measured(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    cpu, points, memory = done.stdout.split()
    return float(cpu), int(points), int(memory)


def measured(path: str) -> None:
    """Print what `alone` gives."""
    before = time.process_time()
    log = read_log(Path(path))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(time.process_time() - before, len(log.points), memory)


def main() -> int:
    """Print the table; 1 beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000)
    size = parser.parse_args().mb * 1e6
    print(f"Python {platform.python_version()}, numpy {version('numpy')}, {size / 1e6:.0f} MB a file\n")
    print("| log | points | MB/s | limit | of grep -c | of a plain loop | memory MB |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for (name, limit), lines in zip(LIMITS.items(), (megatron(), trainer(), sparse()), strict=True):
            path = written(Path(folder) / "a.log", lines, size)
            cpu, points, memory = alone(path)
            grep = seconds(lambda: subprocess.run(["grep", "-c", "loss", str(path)], capture_output=True, check=True))  # noqa: B023
            loop = seconds(lambda: plain(path))  # noqa: B023
            rate = path.stat().st_size / 1e6 / cpu
            told = f"{grep / cpu:.2f} | {loop / cpu:.2f} | {memory}"
            print(f"| {name} | {points} | {rate:.0f} | {limit} | {told} |", flush=True)
            good &= rate >= limit and memory < MEMORY_LIMIT * max(1, points / 3e6)
    chance, steps = np.random.default_rng(3), np.arange(1, 10_000_001)
    logs = [
        RunLog(source="a", format="b", points=Points(step=steps, loss=2 + chance.random(steps.size)), meta=Meta())
        for _ in range(2)
    ]
    cpu = seconds(lambda: compare(*logs))
    print(f"\n10 million points compared in {cpu:.1f} s (limit {COMPARE_LIMIT:.0f} s)")
    return 0 if good and cpu < COMPARE_LIMIT else 1


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
