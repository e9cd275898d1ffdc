"""Put the recorded container runtime on the nodes of a lab, and read what it wrote down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab, LabNode

PROGRAM = Path(__file__).with_name("runtime.py")
PLACE = "/run/recorded"
IMAGE = "llmctl-test:1"
"""The image that every node has."""
IMAGE_FILE = "/opt/images/llmctl-测试.sif"


@contextmanager
def with_runtime(lab: Lab, runtime: str) -> Iterator[None]:
    """The runtime, its image and its daemon are on all nodes; at the end they are gone."""
    text = f"#!{lab.python} -IS\n{PROGRAM.read_text(encoding='utf-8')}"
    for node in lab.nodes:
        lab.write(node, f"/usr/local/bin/{runtime}", text, mode="755")
        lab.write(node, f"{PLACE}/images.json", json.dumps({IMAGE: "sha256:" + "1" * 64}))
        lab.write(node, IMAGE_FILE, "#!/usr/bin/env run-singularity\n".ljust(48, "x") + "id of the image " + "layers")
        done = lab.exec(
            node,
            f"mkdir -p {PLACE}/containers; rm -f {PLACE}/calls.jsonl {PLACE}/socket; "
            f"[ {runtime} != docker ] || {{ setsid docker daemon >{PLACE}/log 2>&1 & echo $! >{PLACE}/pid; "
            f"for i in $(seq 900); do [ -S {PLACE}/socket ] && exit; sleep 0.05; done; cat {PLACE}/log >&2; exit 1; }}",
        )
        if not done.ok:
            raise RuntimeError(done.stderr)
    try:
        yield
    finally:
        for node in lab.nodes:
            lab.exec(node, f"kill $(cat {PLACE}/pid); rm -rf {PLACE} /usr/local/bin/{runtime} /opt/images")


def calls(lab: Lab, node: LabNode) -> list[dict[str, Any]]:
    """Every call of the runtime on a node: its words, and what of ours was in its environment."""
    return [json.loads(line) for line in (lab.read(node, f"{PLACE}/calls.jsonl") or "").splitlines()]


def running(lab: Lab, node: LabNode) -> list[str]:
    """The containers that run on a node."""
    return lab.exec(node, f"ls {PLACE}/containers | grep -v '[.]'").stdout.split()
