"""Processes of earlier attempts on nodes that were lost: ended when the node is back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from llmctl.launch.backends import BACKENDS
from llmctl.recipe.hosts import Node
from llmctl.remote.connect import connect
from llmctl.remote.fanout import Outcome, fan_out
from llmctl.run.folder import RunFolder
from llmctl.workflows.follow import GRACE
from llmctl.workflows.manifest import read_job


def note_leftover(folder: RunFolder, nodes: Sequence[Node]) -> None:
    """Remember nodes on which processes of the run may still be, which are none of its nodes any more."""

    def change(old: dict[str, Any]) -> dict[str, Any]:
        known = old.get("leftover", [])
        names = {node["name"] for node in known}
        return {"leftover": [*known, *(asdict(node) for node in nodes if node.name not in names)]}

    folder.change_manifest(change)


def end_leftover(folder: RunFolder) -> list[Outcome[str, int]]:
    """Try to end what is left on the remembered nodes; each outcome is how many processes were ended. Nodes where that
    was done are forgotten."""
    job, _, manifest = read_job(folder)
    nodes = {told["name"]: Node(**told) for told in manifest.get("leftover", [])}
    login = manifest["login"]

    def one(name: str) -> int:
        transport = connect(nodes[name], user=login["user"], port=login["port"])
        try:
            alone = replace(job, nodes=(name,))
            (ended,) = BACKENDS[manifest["backend"]].cancel(alone, {name: transport}, GRACE)
            if ended.error is not None:
                raise ended.error
            return ended.value or 0
        finally:
            transport.close()

    outcomes = fan_out(nodes, one)
    done = {outcome.item for outcome in outcomes if outcome.error is None}
    if done:
        folder.change_manifest(
            lambda old: {"leftover": [told for told in old.get("leftover", ()) if told["name"] not in done]}
        )
    return outcomes
