"""Tokenising and packing to disk, against LLaMA-Factory 0.9.5's preprocessing of the same rows.

    python -m bench.data_prepare --theirs ENV/bin/python [--shared ../shared]

ENV has `pip install llamafactory==0.9.5 transformers==5.6.0`. Rows of three real datasets, repeated to 50,000; once as
they are, once with a number in each, so that no two are equal. Both write to disk with two processes, in turns, and the
ids and labels must be the same. Exits 1 when ours is not three times as fast, or needs more memory for more rows."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from llmctl_engine import prepared
from llmctl_engine.config import DataConfig, EngineConfig, ModelConfig, TrainSettings, to_json

from llmctl.resources import engine_dir

DATASETS = ("alpaca_en_demo", "alpaca_zh_demo", "glaive_toolcall_en_demo")
FEWER = 10_000
TIMES, GROWTH = 3.0, 1.2
"""Ours must be so many times as fast; its largest process may grow by this factor from FEWER rows to all."""


def write_data(shared: Path, folder: Path, rows: int, *, numbered: bool) -> Path:
    """The datasets with so many rows together, in turns from all of them."""
    folder.mkdir(parents=True)
    given = {name: json.loads((shared / f"{name}.json").read_text("utf-8")) for name in DATASETS}
    every = [(name, row) for name, rows in given.items() for row in rows]
    taken: dict[str, list[Any]] = {name: [] for name in DATASETS}
    for number in range(rows):
        name, row = every[number % len(every)]
        taken[name].append(_with_number(row, number) if numbered else row)
    for name, content in taken.items():
        (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    info = json.loads((shared / "dataset_info.json").read_text("utf-8"))
    (folder / "dataset_info.json").write_text(json.dumps({name: info[name] for name in DATASETS}))
    return folder


def _with_number(row: dict[str, Any], number: int) -> dict[str, Any]:
    if "conversations" not in row:
        return {**row, "instruction": f"{number}. {row['instruction']}", "output": f"{row['output']} ({number})"}
    first, *rest = row["conversations"]
    return {**row, "conversations": [{**first, "value": f"{number}. {first['value']}"}, *rest]}


def run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Its last line, with the seconds, the CPU seconds and the megabytes of the largest process, children included."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        streams = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for file, number in ((out, 1), (errors, 2))]
        child = os.posix_spawn(command[0], command, {**os.environ, **environment}, file_actions=streams)
        _, status, used = os.wait4(child, 0)
        wall = time.perf_counter() - began
        out.seek(0)
        errors.seek(0)
        if status:
            raise SystemExit(f"{command}: {errors.read()[-4000:]}")
        last = json.loads(out.read().strip().splitlines()[-1])
    return {**last, "wall": wall, "cpu": used.ru_utime + used.ru_stime, "MB": used.ru_maxrss / 1024}


def ours(model: Path, data: Path, folder: Path) -> dict[str, Any]:
    """Prepare with two workers; what it took, and digests of the bytes."""
    config = EngineConfig(
        run_id="bench",
        device="cpu",
        output_dir=str(folder),
        model=ModelConfig(path=str(model), template="default@0.9.5"),
        data=DataConfig(dir=str(data), datasets=DATASETS, cutoff_len=1024, packing="none"),
        train=TrainSettings(),
    )
    folder.mkdir(parents=True)
    (folder / "engine.json").write_text(to_json(config), "utf-8")
    words = ["-m", "llmctl_engine.prepare", str(folder / "engine.json"), "--to", str(folder), "--workers", "2"]
    found = run([sys.executable, *words], {"PYTHONPATH": str(engine_dir())})
    made = prepared.load(found["prepared"])
    columns = {"input_ids": made.ids.flat, "labels": made.labels.flat}
    digests = {name: hashlib.sha256(column.tobytes()).hexdigest() for name, column in columns.items()}
    return {**found, "rows": len(made), **digests}


def theirs(python: str, model: Path, data: Path, folder: Path) -> dict[str, Any]:
    """The same of LLaMA-Factory, with nothing in its cache."""
    folder.mkdir(parents=True)
    script = str(Path(__file__).with_name("their_preparing.py"))
    words = [str(model), str(data), str(folder / "saved"), ",".join(DATASETS), "--no-sound"]
    return run([python, script, *words], {"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"})


def compare(given: argparse.Namespace, folder: Path, *, numbered: bool) -> bool:
    """Print a table of both; whether ours is fast enough."""
    model, data = given.shared / "reference/llamafactory/model", folder / "data"
    write_data(given.shared / "samples/data", data, given.rows, numbered=numbered)
    sides: dict[str, list[dict[str, Any]]] = {"llmctl": [], "LLaMA-Factory": []}
    for number in range(given.rounds):
        sides["LLaMA-Factory"].append(theirs(given.theirs, model, data, folder / f"theirs{number}"))
        sides["llmctl"].append(ours(model, data, folder / f"ours{number}"))
    for name in ("rows", "input_ids", "labels"):
        if len({run[name] for runs in sides.values() for run in runs}) != 1:
            raise SystemExit(f"the two sides have other {name}")
    median = {
        name: {key: statistics.median(run[key] for run in runs if key in run) for key in ("wall", "cpu", "MB")}
        for name, runs in sides.items()
    }
    kind = "a number in each" if numbered else "as they are"
    print(f"\n{given.rows} rows, {kind}; load {os.getloadavg()[0]:.0f}; equal ids and labels")
    print("| | wall s | rows/s | CPU s | largest process MB |\n|---|--:|--:|--:|--:|")
    for name, took in median.items():
        rate = given.rows / took["wall"]
        print(f"| {name} | {took['wall']:.1f} | {rate:.0f} | {took['cpu']:.1f} | {took['MB']:.0f} |")
    work = statistics.median(run["work"] for run in sides["LLaMA-Factory"])
    walls = [median[name]["wall"] for name in ("LLaMA-Factory", "llmctl")]
    times = walls[0] / walls[1]
    print(f"LLaMA-Factory without its imports: {work:.1f} s")
    cpu = median["LLaMA-Factory"]["cpu"] / median["llmctl"]["cpu"]
    print(f"{times:.2f} times as fast, {work / walls[1]:.2f} times without LLaMA-Factory's imports, {cpu:.2f} by CPU")
    return times >= TIMES


def flat(given: argparse.Namespace, folder: Path) -> bool:
    """Print the memory for fewer and for all rows; whether it stays."""
    model, used = given.shared / "reference/llamafactory/model", []
    for rows in (FEWER, given.rows):
        data = write_data(given.shared / "samples/data", folder / f"{rows}/data", rows, numbered=True)
        used.append(ours(model, data, folder / f"{rows}/made")["MB"])
        print(f"{rows} rows: {used[-1]:.0f} MB in the largest process")
    return used[1] <= GROWTH * used[0]


def main() -> int:
    """Both comparisons and the memory; 1 when a limit is not held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--theirs", required=True, metavar="PYTHON")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    given.shared = given.shared.resolve()
    with tempfile.TemporaryDirectory() as folder:
        held = [compare(given, Path(folder) / str(numbered), numbered=numbered) for numbered in (False, True)]
        held.append(flat(given, Path(folder) / "flat"))
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
