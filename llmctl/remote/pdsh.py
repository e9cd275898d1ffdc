"""Run a script on many nodes through pdsh, with a true exit code for each."""

from __future__ import annotations

import base64
import gzip
import os
import re
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from llmctl.errors import NodeError, UsageError
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import resolve
from llmctl.remote.fanout import Outcome
from llmctl.remote.inventory import load_inventory
from llmctl.remote.openssh import complaint, ssh_config, ssh_options
from llmctl.remote.transport import CommandResult

MAX_ARGUMENT = 120_000
"""Bytes that fit in one argument (the kernel's limit is 128 KiB)."""
GRACE = 20.0
MOST = 64 << 20
"""Characters of one node's stream that are kept."""


def pdsh_version() -> str:
    """The version of the pdsh on this machine, for example `2.34`. Raises UsageError when it cannot be used."""
    install = "install it (package pdsh), or leave pdsh out: the default needs only ssh"
    try:
        done = subprocess.run(["pdsh", "-V"], capture_output=True, text=True, check=False, timeout=20)
    except FileNotFoundError as error:
        raise UsageError("pdsh is not installed on this machine", hint=install) from error
    text = done.stdout + done.stderr
    modules = re.search(r"rcmd modules: (\S+)", text)
    if modules is None or "ssh" not in modules.group(1).split(","):
        raise UsageError("this pdsh cannot use ssh", why=text.strip(), hint=install)
    found = re.search(r"pdsh-(\d[\d.]*)", text)
    return found.group(1) if found else "unknown"


def run_pdsh(
    nodes: Sequence[Node], script: str, *, timeout: float = 60.0, user: str | None = None, port: int | None = None
) -> list[Outcome[Node, CommandResult]]:
    """Give `script` to sh on every node through pdsh; each node has its own outcome, in order.

    pdsh's own exit code says little, so each node prints an end mark with its status; a node without one is a
    NodeError with what ssh said. The nodes go under aliases, so that names with dots, ports, users and duplicates
    come through. Raises UsageError when pdsh is missing or the script does not fit in one argument."""
    if not nodes:
        return []
    pdsh_version()
    inventory = load_inventory()
    targets = {
        f"n{number}": resolve(node, user=user, port=port, inventory=inventory) for number, node in enumerate(nodes)
    }
    mark = secrets.token_hex(8)
    command = _command(script, mark, timeout)
    with tempfile.TemporaryDirectory(prefix="llmctl-pdsh-") as folder:
        config = Path(folder) / "config"
        config.write_text(ssh_config(targets), encoding="utf-8")
        env = {key: value for key, value in os.environ.items() if not key.startswith("PDSH_") and key != "WCOLL"}
        env |= {"PDSH_RCMD_TYPE": "ssh", "PDSH_SSH_ARGS_APPEND": " ".join(ssh_options(config)), "LC_ALL": "C.UTF-8"}
        argv = ["pdsh", "-R", "ssh", "-f", "32", "-w", ",".join(targets), command]
        stdout, stderr = _communicate(argv, env, timeout + GRACE)
    return [
        _outcome(node, stdout.get(alias, ""), _named(stderr.get(alias, ""), alias, node), mark, timeout)
        for alias, node in zip(targets, nodes, strict=True)
    ]


def _command(script: str, mark: str, timeout: float) -> str:
    """One line without blanks that matter, quotes or %h, which pdsh would spoil."""
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    if len(packed) > MAX_ARGUMENT:
        raise UsageError("the script is too large for pdsh", why=f"{len(packed)} bytes packed")
    run = (
        f"sh -c 'f=$(mktemp) && echo {packed} | base64 -d | gzip -d > $f && timeout -k 5 {timeout:g} sh $f </dev/null; "
    )
    return run + f"s=$?; rm -f $f; echo; echo {mark} $s'"


def _communicate(argv: list[str], env: dict[str, str], timeout: float) -> list[dict[str, str]]:
    """Both streams by label, up to MOST characters each, so that a node that prints without end costs no memory."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        told = [Labelled(), Labelled()]
        streams = zip(told, (process.stdout, process.stderr), strict=True)
        readers = [threading.Thread(target=_read, args=pair, daemon=True) for pair in streams]
        try:
            for reader in readers:
                reader.start()
            deadline = time.monotonic() + timeout
            for reader in readers:
                reader.join(max(0.0, deadline - time.monotonic()))
        finally:
            if any(reader.is_alive() for reader in readers):
                os.killpg(process.pid, signal.SIGKILL)
            for reader in readers:
                reader.join()
    return [each.texts() for each in told]


def _read(told: Labelled, stream: IO[bytes]) -> None:
    while line := stream.readline(MOST):
        told.take(line.decode("utf-8", "replace"))


class Labelled:
    """The lines of each label `label: line`; pdsh's own words `pdsh@here: label: ...` go to that label."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._sizes: dict[str, int] = {}

    def take(self, line: str) -> None:
        """Sort in one line; beyond MOST characters of its label it is dropped."""
        parts = re.match(r"(?:pdsh@[^:]*: )?([^:\s]+): ?(.*)", line, re.DOTALL)
        if parts is None:
            return
        label, text = parts.groups()
        self._sizes[label] = self._sizes.get(label, 0) + len(text)
        if self._sizes[label] <= MOST:
            self._lines.setdefault(label, []).append(text if text.endswith("\n") else text + "\n")

    def texts(self) -> dict[str, str]:
        """The text of each label."""
        return {label: "".join(lines) for label, lines in self._lines.items()}


def _named(text: str, alias: str, node: Node) -> str:
    return re.sub(rf"\b{alias}\b", node.name, text)


def _outcome(node: Node, out: str, err: str, mark: str, timeout: float) -> Outcome[Node, CommandResult]:
    found = re.search(rf"\n?^{mark} (\d+)$", out, re.MULTILINE)
    if found is None:
        if "ssh exited" in err or "ssh:" in err:
            return Outcome(node, error=complaint(node.name, err))
        error = NodeError(f"no end within {timeout + GRACE:g} s", where=node.name, why=err.strip()[-400:])
        return Outcome(node, error=error)
    code = int(found.group(1))
    if code == 124:
        return Outcome(node, error=NodeError(f"no end after {timeout:g} s", where=node.name, why=err.strip()[-400:]))
    return Outcome(node, value=CommandResult(code, out[: found.start()], err))
