"""`launch.notify`: a command on the launcher that hears of a run's end, or that it hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from typing import Any, Literal, Protocol

from llmctl.run.folder import RunFolder

SECONDS = 60.0
"""Patience with the command."""
Event = Literal["ended", "stalled"]
TOLD = ("run_id", "name", "state", "output", "last_step", "total_steps", "last_loss", "exit_codes", "failure", "lost",
        "why", "created", "ended")  # fmt: skip
"""Keys of the manifest that the command is told as JSON."""


class Hearer(Protocol):
    """Who hears that the command failed."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""


def facts_of(folder: RunFolder, manifest: dict[str, Any], event: Event) -> dict[str, Any]:
    """What the command is told on standard input."""
    nodes = [node["name"] for node in manifest.get("nodes", ())]
    return {"event": event, "folder": str(folder.root), "nodes": nodes} | {key: manifest.get(key) for key in TOLD}


def variables_of(facts: dict[str, Any]) -> dict[str, str]:
    """The same in short, for the command's environment. None of them is the run's own LLMCTL_RUN_ID, by which its
    processes are known and ended."""
    failure = facts["failure"] or {}
    told = {key: facts[key] for key in ("event", "state", "folder", "output", "last_step", "last_loss")}
    told |= {"run": facts["run_id"], "nodes": ",".join(facts["nodes"]), "failure": failure.get("message")}
    return {f"LLMCTL_NOTIFY_{key.upper()}": "" if value is None else str(value) for key, value in told.items()}


def notify(folder: RunFolder, event: Event, hearer: Hearer) -> None:
    """Run the recipe's `launch.notify`, if there is one, for at most SECONDS. That it fails is told, and is no failure
    of the run; what it prints stands in `notify.log` of the run folder."""
    manifest = folder.read_manifest()
    command = manifest.get("launch", {}).get("notify")
    if not command:
        return
    facts = facts_of(folder, manifest, event)
    path = folder.root / "notify.log"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder.root,
                env=os.environ | variables_of(facts), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            hearer.note(f"launch.notify cannot be started: {error}")
            return
        try:
            process.communicate(json.dumps(facts, ensure_ascii=False).encode() + b"\n", timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            hearer.note(f"launch.notify was ended after {SECONDS:.0f} s: {path}")
            return
    if process.returncode:
        hearer.note(f"launch.notify failed with exit code {process.returncode}: {path}")


def notify_aside(folder: RunFolder, event: Event, hearer: Hearer) -> None:
    """As `notify`, while the run is watched on."""
    threading.Thread(target=notify, args=(folder, event, hearer)).start()
