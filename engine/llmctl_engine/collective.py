"""One all_reduce of 1 MiB between all ranks of a run, to see that they can talk to each other.

A single file that goes to a node by itself, on standard input of the node's interpreter, with a last line that calls
`main` with the request: {"node", "first_rank", "slots", "world_size", "leaders", "address", "port", "backend",
"device", "plugin", "seconds"}. It starts the node's ranks and prints one JSON object between two lines of MARKS:
{"ranks": {rank: {"state", "seconds", "error"}}, "peers": {node: seconds}, "absent": [ranks]}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import Any

MARKS = ("LLMCTL-COLLECTIVE-BEGIN", "LLMCTL-COLLECTIVE-END")
ELEMENTS = 256 * 1024
"""Of float32: 1 MiB."""
REPEATS = 3


def tell(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def rank(request: dict[str, Any], number: int) -> None:
    """One rank, in a process of its own: join, reduce, check the sum, time a message to each node's first rank."""
    import torch
    import torch.distributed as dist

    if request["plugin"]:
        __import__(request["plugin"])
    tell(rank=number, state="imported")
    patience = timedelta(seconds=request["seconds"])
    store = dist.TCPStore(  # type: ignore[attr-defined]
        request["address"], request["port"], is_master=number == 0, wait_for_workers=False, timeout=patience
    )
    store.set(f"here/{number}", "1")
    tell(rank=number, state="arrived")
    ranks = range(request["world_size"])
    try:
        store.wait([f"here/{other}" for other in ranks], patience)
    except RuntimeError:
        tell(rank=number, absent=[other for other in ranks if not store.check([f"here/{other}"])])
        raise
    name = request["device"]
    place = torch.device("cpu") if name == "cpu" else torch.device(name, number - request["first_rank"])
    if name != "cpu":
        getattr(torch, name).set_device(place)
    dist.init_process_group(request["backend"], store=store, rank=number, world_size=len(ranks), timeout=patience)
    tell(rank=number, state="joined")
    values = torch.full((ELEMENTS,), float(number + 1), device=place)
    begun = time.monotonic()
    dist.all_reduce(values)
    total = float(values.sum().item()) / ELEMENTS
    seconds = time.monotonic() - begun
    expected = len(ranks) * (len(ranks) + 1) / 2
    if total != expected:
        raise RuntimeError(f"the sum is {total}, not {expected}")
    tell(rank=number, state="reduced", seconds=seconds)
    for leader, node_name in request["leaders"]:
        if leader == 0:
            continue
        if number == 0:
            tell(rank=0, peer=node_name, seconds=min(echo(dist, values, leader, first=True) for _ in range(REPEATS)))
        elif number == leader:
            for _ in range(REPEATS):
                echo(dist, values, 0, first=False)
        dist.barrier()
    tell(rank=number, state="done")
    dist.destroy_process_group()


def echo(dist: Any, values: Any, other: int, *, first: bool) -> float:
    """Seconds for the values to go to another rank and back."""
    begun = time.monotonic()
    for sends in (first, not first):
        (dist.send if sends else dist.recv)(values, other)
    values.sum().item()
    return time.monotonic() - begun


def node(request: dict[str, Any], text: str) -> None:
    """Start the ranks of a node, listen to them until they end or the time is up, and tell what became of each."""
    answer: dict[str, Any] = {"ranks": {}, "peers": {}, "absent": []}
    children: list[tuple[int, subprocess.Popen[str]]] = []
    for number in range(request["first_rank"], request["first_rank"] + request["slots"]):
        answer["ranks"][number] = {"state": "started", "seconds": None, "error": None}
        child = subprocess.Popen(
            [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        children.append((number, child))
    readers = [
        threading.Thread(target=listen, args=(text, request, number, child, answer)) for number, child in children
    ]
    for reader in readers:
        reader.start()
    deadline = time.monotonic() + request["seconds"] + 10
    for reader in readers:
        reader.join(max(0.0, deadline - time.monotonic()))
    for number, child in children:
        if child.poll() is None:
            child.kill()
            answer["ranks"][number]["error"] = f"no end after {request['seconds']} s"
    for reader in readers:
        reader.join()
    sys.stdout.write(f"\n{MARKS[0]}\n{json.dumps(answer)}\n{MARKS[1]}\n")
    sys.stdout.flush()


def listen(
    text: str, request: dict[str, Any], number: int, child: subprocess.Popen[str], answer: dict[str, Any]
) -> None:
    said: list[str] = []
    errors = threading.Thread(target=lambda: said.extend(child.stderr or ()))
    errors.start()
    assert child.stdin is not None and child.stdout is not None  # noqa: PT018, S101 - both are pipes
    try:
        child.stdin.write(f"{text}\nrank({request!r}, {number})\n")
        child.stdin.close()
    except OSError:
        pass  # it ended at once; its exit code and words tell
    mine = answer["ranks"][number]
    for line in child.stdout:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if "peer" in told:
            answer["peers"][told["peer"]] = told["seconds"]
        elif "absent" in told:
            answer["absent"] = told["absent"]
        elif "state" in told:
            mine["state"] = told["state"]
            mine["seconds"] = told.get("seconds", mine["seconds"])
    code = child.wait()
    errors.join()
    if code and mine["error"] is None:
        last = [line.strip() for line in said if line.strip() and not line.startswith(" ")]
        mine["error"] = last[-1][:300] if last else f"exit code {code}"


def main(encoded: str, text: str) -> None:
    """What the last line calls."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    node(json.loads(encoded), text)
