"""`runs prune`: remove what is stored of runs that are over, here and on request on their nodes."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmctl.errors import LlmctlError, ManyNodeErrors, NodeError, UsageError
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import connect
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.transport import Transport
from llmctl.run import index
from llmctl.run.acting import acting, actor
from llmctl.run.index import IndexEntry
from llmctl.run.states import ENDED, State
from llmctl.workflows.manifest import read_job

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
WEIGHTS = ("checkpoint-*", "*.safetensors", "*.bin", "*.pt")
"""What is never removed from `output/` unasked, nor what lies beside it there."""
AT_ONCE = 8
"""Runs that are looked at or removed side by side."""


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """Which runs may go; every condition that is given must hold."""

    older_than: float | None = None
    """Seconds since the run ended."""
    keep: int | None = None
    """So many of the newest stay."""
    states: tuple[State, ...] = ()
    nodes: bool = False
    """Their folders on the nodes too."""
    checkpoints: bool = False
    """Weights and checkpoints too."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A run that may go, and what that frees."""

    entry: IndexEntry
    size: int
    """Bytes on this machine."""
    on_nodes: Mapping[str, int] = field(default_factory=dict)
    """Bytes by node."""
    stays: str = ""
    """Why it is left alone all the same."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A run that is gone from this machine."""

    run_id: str
    left: tuple[str, ...] = ()
    """`node:folder` of weights that stay."""


def seconds_of(text: str) -> float:
    """`90m`, `12h`, `30d`, `4w` in seconds. Raises UsageError for anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([mhdw])", text)
    if match is None:
        raise UsageError(f"--older-than {text} is not understood", hint="--older-than 30d (m, h, d or w)")
    return float(match[1]) * UNITS[match[2]]


def choose(entries: Sequence[IndexEntry], request: PruneRequest, now: float) -> list[IndexEntry]:
    """The ended runs among `entries` (the newest last) that the request means, in their order. Raises UsageError when
    it sets no bound at all."""
    if request.older_than is None and request.keep is None and not request.states:
        raise UsageError(
            "which runs shall go?", hint="llmctl runs prune --older-than 30d, --keep 20, or --state FAILED; --dry-run"
        )
    ended = [entry for entry in entries if entry.state in ENDED]
    kept = {entry.run_id for entry in ended[max(0, len(ended) - (request.keep or 0)) :]}
    return [
        entry
        for entry in ended
        if entry.run_id not in kept
        and (request.older_than is None or now - entry.updated >= request.older_than)
        and (not request.states or entry.state in request.states)
    ]


@dataclass
class Pruning:
    """Looks and removes over the same connections."""

    request: PruneRequest
    links: dict[tuple[Node, Any, Any], Outcome[str, Transport]] = field(default_factory=dict)

    def look(self) -> list[Outcome[IndexEntry, Candidate]]:
        """What may go, or why that cannot be told, in the order of the index."""
        chosen = choose(index.entries(), self.request, time.time())
        if self.request.nodes:
            self._connect(chosen)
        return fan_out(chosen, self._candidate, limit=AT_ONCE)

    def remove(self, candidates: Sequence[Candidate]) -> list[Outcome[str, Pruned]]:
        """Remove them: on the nodes first, so that a run whose node is away can be asked for again."""
        found = {candidate.entry.run_id: candidate.entry for candidate in candidates}
        done = fan_out(list(found), lambda run_id: self._remove(found[run_id]), limit=AT_ONCE)
        index.forget_gone()
        return done

    def close(self) -> None:
        """Close all connections."""
        for link in self.links.values():
            if link.value is not None:
                link.value.close()

    def _connect(self, chosen: Sequence[IndexEntry]) -> None:
        told = fan_out(chosen, _places, limit=AT_ONCE)  # a manifest that cannot be read is told by _candidate
        wanted = list(dict.fromkeys(place for outcome in told for place in outcome.value or ()))
        for made in fan_out(wanted, lambda place: connect(place[0], user=place[1], port=place[2])):
            self.links[made.item] = Outcome(made.item[0].name, made.value, made.error)

    def _candidate(self, entry: IndexEntry) -> Candidate:
        candidate = Candidate(entry=entry, size=_size(Path(entry.path)))
        if actor(entry.folder) is not None:
            return replace(candidate, stays="another llmctl acts for it")
        if (state := _state(entry)) not in ENDED:
            return replace(candidate, stays=f"it is {state}")
        if not self.request.checkpoints and _has_weights(entry.folder.output):
            return replace(candidate, stays="its folder holds weights; --checkpoints removes them too")
        if self.request.nodes and (shared := _shared_folder(entry)):
            return replace(
                candidate, stays=f"Slurm ran it on a shared disk; without --nodes its record goes, not {shared}"
            )
        sizes = self._on_nodes(entry, "du -sk . | cut -f1")
        return replace(candidate, on_nodes={node: 1024 * int(told or 0) for node, told in sizes.items()})

    def _remove(self, entry: IndexEntry) -> Pruned:
        with acting(entry.folder) as ours:
            if not ours or _state(entry) not in ENDED:
                raise UsageError("it was continued meanwhile", where=entry.run_id, hint=f"llmctl status {entry.run_id}")
            return self._remove_ended(entry)

    def _remove_ended(self, entry: IndexEntry) -> Pruned:
        names = " -o ".join(f"-name {sh_quote(name)}" for name in WEIGHTS)
        held = f'[ -n "$(find output -maxdepth 1 \\( {names} \\) 2>/dev/null | head -n 1)" ]'
        rest = "find . -mindepth 1 -maxdepth 1 ! -name output -exec rm -rf {} + && echo left"
        whole = 'rm -rf "$PWD"'
        told = self._on_nodes(entry, whole if self.request.checkpoints else f"if {held}; then {rest}; else {whole}; fi")
        run_dir = read_job(entry.folder)[0].run_dir if told else ""
        try:
            shutil.rmtree(entry.path)
        except OSError as error:
            raise LlmctlError(
                "its folder cannot be removed",
                where=str(error.filename or entry.path),
                why=error.strerror or str(error),
            ) from None
        left = tuple(f"{node}:{run_dir}/output" for node, text in told.items() if text == "left")
        return Pruned(run_id=entry.run_id, left=left)

    def _on_nodes(self, entry: IndexEntry, script: str) -> dict[str, str]:
        """What a script prints in the run's folder on each of its nodes, "" where there is none. Raises NodeError for
        the first node that is away, or where the run is not over."""
        if not self.request.nodes or not (places := _places(entry)):
            return {}
        run_dir = read_job(entry.folder)[0].run_dir
        if Path(run_dir).name != entry.run_id:
            raise LlmctlError("the manifest names a folder that is not the run's", where=run_dir)
        pattern = sh_quote(f"^LLMCTL_RUN_ID={re.escape(entry.run_id)}$")
        # A grep of one word ends soon; what it cannot read is another user's.
        command = (
            f"if grep -qazs -e {pattern} /proc/[0-9]*/environ; then echo runs; exit 9; fi; "
            f"cd {sh_quote(run_dir)} 2>/dev/null || {{ LC_ALL=C ls -d {sh_quote(run_dir)} 2>&1 >/dev/null | "
            f"grep -q 'No such file' && exit 0; cd {sh_quote(run_dir)} || exit 1; }}; {script}"
        )

        def one(place: tuple[Node, Any, Any]) -> str:
            link = self.links[place]
            if link.value is None:
                raise link.error or NodeError("was not reached", where=link.item)
            done = link.value.run(command, timeout=600)
            if done.code == 9 and done.stdout.strip() == "runs":
                raise NodeError("processes of it are there", where=link.item, hint=f"llmctl nodes clean {link.item}")
            if not done.ok:
                raise NodeError("its folder cannot be removed or read", where=link.item, why=done.stderr.strip())
            return done.stdout.strip()

        outcomes = fan_out(places, one)
        errors = [outcome.error for outcome in outcomes if outcome.error]
        if errors:
            raise ManyNodeErrors(errors, what=f"{entry.run_id} stays: {len(errors)} of {len(places)} nodes fail")
        return {outcome.item[0].name: outcome.value or "" for outcome in outcomes}


def _places(entry: IndexEntry) -> list[tuple[Node, Any, Any]]:
    """Every node of a run with the login of its recipe; none for a run on this machine alone, or of Slurm."""
    _, nodes, manifest = read_job(entry.folder)
    if manifest["backend"] in ("local", "slurm"):
        return []
    return [(node, manifest["login"]["user"], manifest["login"]["port"]) for node in nodes]


def _shared_folder(entry: IndexEntry) -> str | None:
    """Where Slurm's nodes have a run's files; None for a run of another backend."""
    job, _, manifest = read_job(entry.folder)
    return job.run_dir if manifest["backend"] == "slurm" else None


def _state(entry: IndexEntry) -> State:
    """What is noted in the run's own folder, of which the index need not have heard; its word where that is broken."""
    try:
        return State(entry.folder.read_manifest()["state"])
    except UsageError:
        return entry.state


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    found = 0
    for root, _, names in os.walk(folder):
        for name in names:
            found += (Path(root) / name).lstat().st_size
    return found


def _has_weights(output: Path) -> bool:
    return any(True for pattern in WEIGHTS for _ in output.glob(pattern))
