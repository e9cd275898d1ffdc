"""From which checkpoint a run can go on when nodes have changed places. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SHARD = re.compile(r"zero_pp_rank_(\d+)_mp_rank_\d+_(?:optim|model)_states\.pt$")
_WEIGHTS = re.compile(r"(?:^|/)(?:model|adapter_model|pytorch_model)[^/]*\.(?:safetensors|bin)$")


@dataclass(frozen=True, kw_only=True)
class Held:
    """A good checkpoint on one node."""

    world_size: int
    files: tuple[str, ...]

    @property
    def missing(self) -> str | None:
        """What of the whole run's state lies on other nodes; None when any node could go on from this copy."""
        ranks = {int(match[1]) for name in self.files if (match := _SHARD.search(name))}
        if ranks:
            absent = sorted(set(range(self.world_size)) - ranks)
            return f"the shards of {_ranks(absent)}" if absent else None
        if "optimizer.pt" in self.files and not any(_WEIGHTS.search(name) for name in self.files):
            return "the weights, which the first node alone writes"
        return None


Holdings = Mapping[str, Mapping[int, Held]]
"""Node -> step -> its good checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Restore:
    """From where the next attempt goes on."""

    step: int
    copies: Mapping[str, str]
    """Node that needs the checkpoint -> node that has it for it."""


def find_restore(held: Holdings, old: Sequence[str], new: Sequence[str]) -> Restore | None:
    """The newest step that all `new` nodes can go on from; `old` are the nodes of the attempt before, in the same order
    of ranks. None when there is none."""
    steps = sorted({step for own in held.values() for step in own}, reverse=True)
    for step in steps:
        copies: dict[str, str] = {}
        for was, name in zip(old, new, strict=True):
            mine = held.get(name, {}).get(step)
            if mine is not None and (name == was or mine.missing is None):
                continue
            source = _source(held, step, was)
            if source is None:
                break
            copies[name] = source
        else:
            return Restore(step=step, copies=copies)
    return None


def nowhere(held: Holdings) -> str:
    """Why no checkpoint can be gone on from, for people; empty when there is none at all."""
    steps = sorted({step for own in held.values() for step in own})
    if not steps:
        return ""
    step = steps[-1]
    lacks = {node: own[step].missing for node, own in held.items() if step in own}
    told = "; ".join(f"{node} lacks {what}" for node, what in lacks.items() if what)
    return f"checkpoint-{step} is not whole without the nodes that are gone: {told or 'not every node has it'}"


def _source(held: Holdings, step: int, was: str) -> str | None:
    """Who has the checkpoint that the ranks of node `was` need."""
    if step in held.get(was, {}):
        return was
    return next((node for node, own in held.items() if step in own and own[step].missing is None), None)


def _ranks(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"ranks {numbers[0]}-{numbers[-1]}"
    return ("rank " if len(numbers) == 1 else "ranks ") + ", ".join(map(str, numbers))
