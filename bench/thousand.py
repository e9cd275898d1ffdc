"""Nodes that are only told of: each answers the check's rounds after a pause, with what this machine would say under
another name and address."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmctl.checks.probing import MARKS
from llmctl.recipe.hosts import Node
from llmctl.remote.transport import CommandResult

OURS = "198.51.100.1"
"""The address that this machine has in the answers (TEST-NET-2)."""


@dataclass
class Village:
    """What all the nodes have in common: names, pause, and the one real answer that they are made of."""

    nodes: list[Node]
    pause: float
    addresses: dict[str, str]
    answer: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, count: int, pause: float) -> Village:
        """`count` nodes that each need `pause` seconds for an answer."""
        nodes = [Node(name=f"node{i:04d}") for i in range(1, count + 1)]
        return cls(nodes, pause, {node.name: f"10.{i // 250}.{i % 250}.1" for i, node in enumerate(nodes)})

    def transports(self) -> dict[str, Absent]:
        """A connection to each."""
        return {node.name: Absent(node, self) for node in self.nodes}

    def first_answer(self, program: bytes) -> str:
        """What the probe says here, run once; the clocks in it are left out."""
        with self.lock:
            if not self.answer:
                done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, check=True)
                told = json.loads(done.stdout.decode().split(MARKS[0])[1].split(MARKS[1])[0])
                address = {"ifname": "eth0", "operstate": "UP", "mtu": 1500, "flags": ["UP"]}
                address["addr_info"] = [{"family": "inet", "local": OURS, "prefixlen": 8}]
                del told["begun"], told["ended"]
                for key, command in told["commands"].items():
                    if "ip -j addr" in key:
                        command |= {"code": 0, "out": json.dumps([address]), "err": ""}
                    if command["out"].strip() == socket.gethostname():
                        command["out"] = "@name@\n"
                self.answer = json.dumps(told).replace(OURS, "@address@")
            return self.answer


@dataclass
class Absent:
    """A connection to one of them."""

    node: Node
    village: Village

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:  # noqa: ARG002
        began = time.time()
        if b'"resolve"' in (request := base64.b64decode(re.findall(rb'\nmain\("([^"]*)"\)\n', stdin)[-1])):
            text = json.dumps(self._second(json.loads(request)))
        else:
            text = self.village.first_answer(stdin).replace("@name@", self.node.name)
            text = text.replace("@address@", self.village.addresses[self.node.name])
        time.sleep(max(0.0, self.village.pause - (time.time() - began)))
        times = f'"begun": {began}, "ended": {time.time()}, '
        return CommandResult(0, f"\n{MARKS[0]}\n{{{times}{text[1:]}\n{MARKS[1]}\n", "")

    def _second(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "commands": {name: {"code": 0, "out": "", "err": ""} for name in request["commands"]},
            "activation_error": None,
            "resolve": {name: [self.village.addresses[name]] for name in request["resolve"]},
            "connect": {each["peer"]: None for each in request.get("connect") or []},
            "tried": {each["peer"]: dict.fromkeys(each["try"]) for each in request.get("connect") or []},
            "listen": {"came": 1, "error": None, "held": (request.get("listen") or {}).get("hold", [])},
            "port": None,
        }

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:  # noqa: ARG002
        raise AssertionError("a check writes nothing")

    def get(self, remote: str, local: Path) -> None:  # noqa: ARG002
        raise AssertionError("a check fetches nothing")

    def close(self) -> None:
        pass
