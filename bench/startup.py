"""How long the command line takes to start, against a one-command Typer app in the same run. Exits 1 beyond limits."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROUNDS = 15
RATIO, MARGIN = 1.3, 0.060
PS_LIMIT = 0.2

ONE_COMMAND = """
import typer

def hello(name: str = typer.Option("world", help="Whom to greet.")) -> None:
    "Greet somebody."
    typer.echo(name)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(hello)
app()
"""


def cpu_seconds(argv: list[str], folder: Path) -> float:
    """User and system time of one process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = dict(os.environ, LLMCTL_HOME=str(folder))
    subprocess.run(argv, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> int:
    """Measure in turns, so that a busy machine is busy for all; print the medians and their limits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one.py").write_text(ONE_COMMAND, encoding="utf-8")
        commands = {
            "one-command Typer app --help": [sys.executable, "one.py", "--help"],
            "llmctl --help": [sys.executable, "-m", "llmctl", "--help"],
            "llmctl ps": [sys.executable, "-m", "llmctl", "ps"],
        }
        times: dict[str, list[float]] = {label: [] for label in commands}
        for argv in commands.values():
            cpu_seconds(argv, folder)  # writes the byte code
        for _ in range(ROUNDS):
            for label, argv in commands.items():
                times[label].append(cpu_seconds(argv, folder))
    medians = {label: statistics.median(measured) for label, measured in times.items()}
    base, told, listed = medians.values()
    limits = {"llmctl --help": base * RATIO + MARGIN, "llmctl ps": PS_LIMIT}
    print(f"Python {platform.python_version()}, typer {version('typer')}, {os.cpu_count()} cores, {ROUNDS} rounds")
    print(f"| {'command':<30} | CPU s, median | limit |\n|{'-' * 32}|--------------:|------:|")
    for label, value in medians.items():
        print(f"| {label:<30} | {value:>13.3f} | {f'{limits[label]:.3f}' if label in limits else '':>5} |")
    return int(told > limits["llmctl --help"] or listed > limits["llmctl ps"])


if __name__ == "__main__":
    sys.exit(main())
