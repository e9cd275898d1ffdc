"""`ds_config.json` as this node's DeepSpeed takes it, checked before the process group exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmctl_engine.errors import EngineError


def load_deepspeed(path: str, collective: str) -> dict[str, Any]:
    """The file's content, with DeepSpeed's process group started on the backend `collective`; ZeRO-3 asks it for the
    world size while the model is made. Raises EngineError when the installed DeepSpeed refuses the file, and for
    tensor parallelism.

    DeepSpeed would otherwise compile a helper for shared memory at its start (a minute with a compiler, an error
    without); gloo does that work."""
    values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    if "tensor_parallel" in values:
        raise EngineError(
            f"{path} asks for tensor_parallel: each rank trains on rows of its own, and Baichuan and Yuan do not store "
            "q and k apart",
            hint="shard the model with ZeRO-3",
        )
    import deepspeed
    from deepspeed.runtime.config import DeepSpeedConfig

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # The whole batch needs the world size, which is known only in the process group.
    alone = {key: value for key, value in values.items() if key != "train_batch_size"}
    try:
        DeepSpeedConfig(alone)
    except (ValueError, AssertionError, TypeError, KeyError) as error:
        raise EngineError(
            f"DeepSpeed {deepspeed.__version__} refuses {path}: {' '.join(str(error).split())}",
            hint="see the recipe's deepspeed block",
        ) from error
    deepspeed.init_distributed(dist_backend=collective, auto_mpi_discovery=False, verbose=False)
    return values


def keep_on_nodes(values: dict[str, Any]) -> None:
    """Make every node write all it needs to resume, for nodes without a shared file system."""
    values.setdefault("checkpoint", {}).setdefault("use_node_local_storage", True)
