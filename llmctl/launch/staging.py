"""Bring a run's files to its nodes: content-addressed, verified there, skipped where equal, nothing half-done left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmctl.errors import NodeError
from llmctl.launch.supervised import Job, call
from llmctl.quoting import sh_quote
from llmctl.remote.fanout import Outcome, fan_out, let_end
from llmctl.remote.transport import Transport
from llmctl.resources import onnode_file
from llmctl.run.trees import Tree

Progress = Callable[[str, str], None]
"""Told (node, what is being copied)."""


@dataclass(frozen=True)
class Cargo:
    """What goes to the nodes: rendered files for the run folder, and trees by their absolute target folder."""

    files: Mapping[str, str]
    trees: Mapping[str, Tree]


def stage(job: Job, cargo: Cargo, transports: Mapping[str, Transport], progress: Progress) -> list[Outcome[str, str]]:
    """Stage on all nodes at once; each outcome tells what was done there. Nodes that see the same file system are
    found and served once. A KeyboardInterrupt closes the connections, so that nothing is written after it."""
    owners = _owners(job, transports)

    def one(node: str) -> str:
        if owners[node] != node:
            return f"shares its file system with {owners[node]}"
        return _stage_node(job, cargo, transports[node], progress)

    def stop() -> None:
        for transport in transports.values():
            transport.close()

    return fan_out(job.nodes, one, stop=stop)


def half_done(job: Job, cargo: Cargo) -> list[str]:
    """The folders that a broken-off staging leaves on a node."""
    return [job.run_dir, *(_aside(target, job) for target in cargo.trees)]


def _aside(target: str, job: Job) -> str:
    return f"{target}.{job.run_id}.partial"


def _owners(job: Job, transports: Mapping[str, Transport]) -> dict[str, str]:
    """Node -> the first node that sees the same run folder. A node that fails here owns itself and fails later."""
    folder = sh_quote(f"{job.run_dir}/.seen")

    def mark(node: str) -> str:
        result = transports[node].run(f"mkdir -p {folder} && : > {folder}/{sh_quote(node)}")
        return node if result.ok else ""

    def look(node: str) -> list[str]:
        return transports[node].run(f"ls {folder} 2>/dev/null").stdout.split("\n")

    if len(job.nodes) == 1:
        return {job.nodes[0]: job.nodes[0]}
    fan_out(job.nodes, mark, stop=let_end)
    seen = {outcome.item: set(outcome.value or ()) for outcome in fan_out(job.nodes, look, stop=let_end)}
    return {node: next((first for first in job.nodes if first in seen[node]), node) for node in job.nodes}


def _stage_node(job: Job, cargo: Cargo, transport: Transport, progress: Progress) -> str:
    node = transport.node.name
    progress(node, "run folder")
    made = transport.run(f"mkdir -p {sh_quote(job.run_dir)}")
    if not made.ok:
        raise NodeError("the run folder cannot be made", where=f"{node}:{job.run_dir}", why=made.stderr.strip())
    texts: dict[str, bytes | Path] = {f"{job.run_dir}/{name}": text.encode() for name, text in cargo.files.items()}
    texts[f"{job.run_dir}/supervisor.py"] = onnode_file("supervisor.py")
    transport.put(texts, mode=0o600)  # cluster.env may hold tokens
    digests = call(transport, job, "digest", *cargo.trees, timeout=1800)["digests"] if cargo.trees else []
    missing = [
        (target, tree)
        for (target, tree), there in zip(cargo.trees.items(), digests, strict=True)
        if there != tree.digest
    ]
    for target, tree in missing:
        progress(node, f"{Path(target).parent.name}, {len(tree.files)} files, {tree.size / 1e6:.1f} MB")
        _stage_tree(job, target, tree, transport)
    there = len(cargo.trees) - len(missing)
    return f"ready, {len(missing)} folders copied" + (f", {there} were there" if there else "")


def _stage_tree(job: Job, target: str, tree: Tree, transport: Transport) -> None:
    node, aside = transport.node.name, _aside(target, job)
    try:
        transport.put({f"{aside}/{name}": path for name, path in tree.files.items()})
        (there,) = call(transport, job, "digest", aside, timeout=1800)["digests"]
        if there != tree.digest:
            raise NodeError("what arrived is not what was sent", where=f"{node}:{target}", hint="run it again")
        # A whole folder in the place of none or an empty one; another run that was quicker may use what lies there.
        if transport.run(f"mv -T {sh_quote(aside)} {sh_quote(target)}").ok:
            return
        (there,) = call(transport, job, "digest", target, timeout=1800)["digests"]
        if there == tree.digest:
            transport.run(f"rm -rf {sh_quote(aside)}")
            return
        moved = transport.run(_replace(target, aside, old=f"{target}.{job.run_id}.old"))
        if not moved.ok:
            raise NodeError("the copy cannot be moved to its place", where=f"{node}:{target}", why=moved.stderr.strip())
    except NodeError:
        transport.run(f"rm -rf {sh_quote(aside)}")
        raise


def _replace(target: str, aside: str, *, old: str) -> str:
    """Put the copy in the place of something else, which goes aside first and whole."""
    target, aside, old = sh_quote(target), sh_quote(aside), sh_quote(old)
    return f"if [ -e {target} ]; then mv -T {target} {old}; fi && mv -T {aside} {target} && rm -rf {old}"
