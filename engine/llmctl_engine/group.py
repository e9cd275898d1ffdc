"""What the ranks of a run tell each other besides gradients."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import distributed

from llmctl_engine.errors import EngineError


def rank() -> int:
    """This process's global rank."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_rank() -> int:
    """This process's rank on its node."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Number of ranks."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def barrier() -> None:
    """Wait for every rank."""
    if distributed.is_initialized():
        distributed.barrier()


def gather(values: list[int] | list[float], device: torch.device) -> torch.Tensor:
    """The values of every rank, shape (world size, len(values)): int64 for whole numbers, fp32 otherwise."""
    mine = torch.tensor(values, device=device)
    if not distributed.is_initialized():
        return mine.unsqueeze(0)
    everyone = [torch.empty_like(mine) for _ in range(world_size())]
    distributed.all_gather(everyone, mine)
    return torch.stack(everyone)


def assert_equal(what: str, digest: str, device: torch.device) -> None:
    """Raise EngineError on every rank when the ranks' hex digests of `what` differ."""
    start = int(digest[:15], 16)
    told = gather([start], device)[:, 0].tolist()
    others = [number for number, value in enumerate(told) if value != told[0]]
    if others:
        raise EngineError(
            f"rank {others[0]} has another {what} than rank 0",
            hint="the nodes must have the same files; run `llmctl check` on them",
        )


def shares_folder(folder: Path, run_id: str, device: torch.device) -> bool:
    """Whether all ranks see the same `folder`, as on a shared file system."""
    mark = folder / f".shared-{run_id}"
    if rank() == 0:
        mark.touch()
    barrier()
    seen = gather([int(mark.exists())], device)
    barrier()
    if rank() == 0:
        mark.unlink()
    return bool(seen.min())


def end() -> None:
    """End the process group; without it a finished process can die in torch's own clean-up."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
