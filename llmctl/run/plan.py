"""What follows from a recipe: who runs where, with which numbers and paths. Values only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """One node of a run; `rank` is its place in the hostfile."""

    name: str
    address: str
    """What the other nodes use to reach it."""
    rank: int
    slots: int
    first_rank: int
    """Global rank of its first process."""
    interface: str | None = None


@dataclass(frozen=True, kw_only=True)
class NodePaths:
    """Absolute paths on the nodes, the same on each."""

    run_dir: str
    engine_dir: str
    data_dir: str
    model_path: str | None
    adapter_path: str | None
    prepared_dir: str | None = None
    """Tokens that are trained on in place of the data."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, worked out."""

    run_id: str
    recipe: Recipe
    nodes: tuple[NodePlan, ...]
    master_addr: str
    master_port: int
    python: str
    paths: NodePaths
    resume: bool = False

    @property
    def world_size(self) -> int:
        return sum(node.slots for node in self.nodes)

    @property
    def global_batch(self) -> int:
        """Samples per optimizer step: micro batch x accumulation x world size."""
        return self.recipe.train.micro_batch * self.recipe.train.grad_accum * self.world_size

    def steps(self, samples: int | None) -> int | None:
        """Optimizer steps for so many samples: rows, blocks of joined texts, or packs. None where neither they nor
        `max_steps` are known. As transformers counts: the last, smaller batch of an epoch is a step too."""
        train = self.recipe.train
        if train.max_steps > 0:
            return train.max_steps
        if samples is None:
            return None
        batches = math.ceil(math.ceil(samples / train.micro_batch) / self.world_size)
        return math.ceil(train.epochs * math.ceil(batches / train.grad_accum))


DEFAULT_MASTER_PORT = 29500


def make_plan(
    recipe: Recipe,
    nodes: Sequence[Node],
    *,
    run_id: str,
    paths: NodePaths,
    addresses: Mapping[str, str] | None = None,
    interfaces: Mapping[str, str | None] | None = None,
    master_port: int | None = None,
    python: str | None = None,
    resume: bool = False,
) -> Plan:
    """Work out a run. `addresses` and `interfaces` (by node name) and `master_port` are what was found on the nodes;
    the recipe's own values win, the node's name and 29500 stand in where nothing is known."""
    cluster = recipe.cluster
    if recipe.launch.backend == "pdsh" and not re.fullmatch(r"[A-Za-z0-9_@+=:,./-]+", paths.run_dir):
        raise UsageError(
            f"pdsh cannot work in {paths.run_dir!r}",
            where="cluster.workdir",
            why="DeepSpeed hands the folder to the nodes' shells without quotes, and pdsh puts something else for %h",
            hint="use letters, digits and ./_- in cluster.workdir, or launch.backend: ssh",
        )
    for node in nodes:
        if cluster.devices and node.slots not in (None, len(cluster.devices)):
            raise UsageError(
                f"{node.name} has slots={node.slots}, cluster.devices names {len(cluster.devices)}",
                where="cluster.devices",
                hint="leave the slots of the nodes out",
            )
    if recipe.launch.backend == "slurm" and set(paths.run_dir) & set("%\\"):
        raise UsageError(
            f"Slurm cannot write its log in {paths.run_dir!r}",
            where="cluster.workdir",
            why="it reads % and backslash in the names of files as its own",
            hint="leave them out of cluster.workdir",
        )
    addresses, interfaces = addresses or {}, interfaces or {}
    planned: list[NodePlan] = []
    for rank, node in enumerate(nodes):
        planned.append(
            NodePlan(
                name=node.name,
                address=addresses.get(node.name) or node.address or node.name,
                rank=rank,
                slots=node.slots or cluster.devices_per_node,
                first_rank=sum(before.slots for before in planned),
                interface=cluster.interface or interfaces.get(node.name),
            )
        )
    if recipe.launch.elastic and addresses:
        _assert_first_meets_first(planned)
    return Plan(
        run_id=run_id,
        recipe=recipe,
        nodes=tuple(planned),
        master_addr=cluster.master_addr or planned[0].address,
        master_port=cluster.master_port or master_port or DEFAULT_MASTER_PORT,
        python=cluster.python or python or "python3",
        paths=paths,
        resume=resume,
    )


def _assert_first_meets_first(nodes: Sequence[NodePlan]) -> None:
    """Raise UsageError when torchrun's rendezvous, which gives the ranks in the order of the addresses as text, would
    begin with another node than the first: the records are read there."""
    first = min(nodes, key=lambda node: node.address)
    if first.name != nodes[0].name:
        raise UsageError(
            f"torchrun would make {first.name} the first node, not {nodes[0].name}",
            where="launch.elastic",
            why=f"its rendezvous sorts addresses as text, and {first.address} comes before {nodes[0].address}",
            hint=f"name {first.name} first in cluster.nodes, or use launch.retries instead",
        )
