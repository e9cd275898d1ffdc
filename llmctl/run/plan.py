"""What follows from a recipe: who runs where, with which numbers and paths. Values only."""

from __future__ import annotations

from dataclasses import dataclass

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
