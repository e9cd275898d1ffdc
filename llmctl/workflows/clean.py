"""`nodes clean`: what dead runs left on nodes is found, shown, and ended; what lives, and what is another's, stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from llmctl.errors import LlmctlError, UsageError
from llmctl.launch.oneshot import ask
from llmctl.recipe.hosts import Node, parse_nodes
from llmctl.remote.connect import connect_all
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.remote.local import LocalTransport
from llmctl.remote.transport import Transport
from llmctl.run.folder import RunFolder
from llmctl.run.index import entries, find_run, runs_folder
from llmctl.run.states import ENDED, State
from llmctl.workflows import leases
from llmctl.workflows.manifest import read_job

PROGRAM = "leftovers.py"


@dataclass(frozen=True, kw_only=True)
class CleanRequest:
    """What a person asked for."""

    nodes: tuple[str, ...] = ()
    run: str | None = None
    """Only what this run left."""
    runs: Path | None = None
    older_than: float | None = None
    """Days; with it, whole run folders on the nodes, checkpoints too."""


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What may go from one node, and what may not."""

    node: str
    processes: tuple[dict[str, Any], ...] = ()
    """{pid, born, run_id, name, since}."""
    partial: tuple[dict[str, Any], ...] = ()
    """Half-done copies: {path, run_id, bytes}."""
    folders: tuple[dict[str, Any], ...] = ()
    """Old run folders: {path, run_id, days, bytes}."""
    leases: tuple[leases.Holder, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    """Run id -> why what is of it stays."""

    @property
    def anything(self) -> bool:
        return bool(self.processes or self.partial or self.folders or self.leases)


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What was done on one node."""

    ended: int = 0
    removed: int = 0
    """Folders, half-done copies and leases."""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the launcher knows of runs."""

    workdirs: Mapping[str, tuple[str, ...]]
    """By node."""
    nodes: Mapping[str, frozenset[str]]
    """Of each run that has not ended as far as was heard."""
    ended: frozenset[str]
    queued: frozenset[str]
    """Runs of Slurm that have not ended: between two starts they have no process anywhere."""


@dataclass
class Cleaning:
    """Open connections to the nodes that are cleaned."""

    request: CleanRequest
    names: tuple[str, ...]
    transports: dict[str, Transport]
    errors: dict[str, LlmctlError]
    """Nodes that could not be reached."""
    known: _Known
    only: str | None
    """The one run whose remains are meant."""

    def look(self) -> list[Outcome[str, Leftovers]]:
        """What may go from each node; the error of a node that cannot be asked."""

        def one(node: str) -> dict[str, Any]:
            if node in self.errors:
                raise self.errors[node]
            words = {"workdirs": list(self.known.workdirs.get(node, ())), "older_than": self.request.older_than}
            told = self._ask(node, {"verb": "look", **words})
            return told | {"leases": leases.listed(node, self.transports[node])}

        outcomes = fan_out(self.names, one)
        living = {run for outcome in outcomes if outcome.value for run in outcome.value["living"]}
        answered = {outcome.item for outcome in outcomes if outcome.value}
        return [
            Outcome(outcome.item, error=outcome.error)
            if outcome.value is None
            else Outcome(outcome.item, value=self._sorted(outcome.item, outcome.value, living, answered))
            for outcome in outcomes
        ]

    def clean(self, found: Leftovers) -> Cleaned:
        """End and remove on its node what was found. Raises NodeError."""
        told = self._ask(
            found.node,
            {
                "verb": "end",
                "workdirs": list(self.known.workdirs.get(found.node, ())),
                "processes": [[each["pid"], each["born"]] for each in found.processes],
                "paths": [each["path"] for each in (*found.partial, *found.folders)],
            },
        )
        dropped = leases.drop(self.transports[found.node]) if found.leases else 0
        left = [f"process {pid} cannot be ended" for pid in told["left"]]
        return Cleaned(ended=told["ended"], removed=told["removed"] + dropped, errors=(*left, *told["errors"]))

    def close(self) -> None:
        """Close all connections."""
        for transport in self.transports.values():
            transport.close()

    def _ask(self, node: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return ask(self.transports[node], PROGRAM, request, what="its leftovers cannot be seen", timeout=300)

    def _sorted(self, node: str, told: Mapping[str, Any], living: set[str], answered: set[str]) -> Leftovers:
        kept: dict[str, str] = {}

        def mine(run_id: str) -> bool:
            if self.only is not None and run_id != self.only:
                return False
            why = self._why_kept(run_id, living, answered)
            if why:
                kept[run_id] = why
            return not why

        stale = [] if self.only else [lease for lease in told["leases"] if lease.own and not lease.alive]
        quiet = set(told["quiet"])
        # A run that is being started has no process here yet, only copies that grow.
        parts = [each for each in told["partial"] if each["path"] in quiet or each["run_id"] in self.known.ended]
        return Leftovers(
            node=node,
            processes=tuple(each for each in told["processes"] if mine(each["run_id"])),
            partial=tuple(each for each in parts if mine(each["run_id"])),
            folders=tuple(each for each in told["folders"] if mine(each["run_id"])),
            leases=tuple(stale),
            kept=kept,
        )

    def _why_kept(self, run_id: str, living: set[str], answered: set[str]) -> str:
        """Empty for a run that is over everywhere."""
        if run_id in living:
            return f"it is running: llmctl cancel {run_id}"
        if run_id in self.known.queued:
            return f"Slurm may start it again: llmctl status {run_id}"
        unasked = sorted(self.known.nodes.get(run_id, frozenset()) - answered)
        return f"{', '.join(unasked)} did not say whether it is over there" if unasked else ""


def open_nodes(request: CleanRequest) -> Cleaning:
    """Connect to the nodes that are named, or to those of a run. Raises UsageError for neither or both."""
    if bool(request.nodes) == bool(request.run):
        raise UsageError("name nodes, or a run with --run", hint="llmctl nodes clean node1 node2 --dry-run")
    known = _known()
    if request.run is None:
        nodes = list(parse_nodes(request.nodes))
        return _opened(request, nodes, known, user=None, port=None)
    folder = find_run(request.run, runs_folder(request.runs))
    _, nodes, manifest = read_job(folder)
    if manifest["backend"] == "local":
        transports: dict[str, Transport] = {node.name: LocalTransport(node) for node in nodes}
        names = tuple(transports)
        return Cleaning(request, names, transports, {}, known, folder.run_id)
    if manifest["backend"] == "slurm":
        raise UsageError(
            "what Slurm started is not cleaned over SSH",
            where=folder.run_id,
            why="Slurm ends all that is left of a job when the job ends",
            hint=f"squeue --name={folder.run_id}; llmctl cancel {folder.run_id}; where ssh leads to the nodes: "
            "llmctl nodes clean NODES",
        )
    login = manifest["login"]
    return _opened(request, nodes, known, user=login["user"], port=login["port"], only=folder.run_id)


def _opened(
    request: CleanRequest,
    nodes: Sequence[Node],
    known: _Known,
    *,
    user: str | None,
    port: int | None,
    only: str | None = None,
) -> Cleaning:
    outcomes = connect_all(nodes, user=user, port=port)
    return Cleaning(
        request=request,
        names=tuple(node.name for node in nodes),
        transports={outcome.item.name: outcome.value for outcome in outcomes if outcome.value},
        errors={outcome.item.name: outcome.error for outcome in outcomes if outcome.error},
        known=known,
        only=only,
    )


def _known() -> _Known:
    """From the index of runs and their manifests."""
    workdirs: dict[str, dict[str, None]] = {}
    unended: dict[str, frozenset[str]] = {}
    ended, queued = set[str](), set[str]()
    for entry in entries():
        manifest = _manifest(entry.folder)
        if manifest is None or manifest["backend"] == "local":
            continue
        names = [node["name"] for node in manifest["nodes"]]
        for name in names:
            workdirs.setdefault(name, {})[str(PurePosixPath(manifest["job"]["run_dir"]).parent.parent)] = None
        if State(manifest["state"]) not in ENDED:
            unended[entry.run_id] = frozenset(names)
            if manifest["backend"] == "slurm":
                queued.add(entry.run_id)
        else:
            ended.add(entry.run_id)
    paths = {name: tuple(found) for name, found in workdirs.items()}
    return _Known(workdirs=paths, nodes=unended, ended=frozenset(ended), queued=frozenset(queued))


def _manifest(folder: RunFolder) -> dict[str, Any] | None:
    """The record of a run; None for one that another version wrote, or that is being removed."""
    try:
        return read_job(folder)[2]
    except UsageError:
        return None
