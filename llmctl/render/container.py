"""What a container is given: the run's folders at the same paths, and devices where the recipe does not say which."""

from __future__ import annotations

import csv
import io
from pathlib import PurePosixPath
from typing import Any

from llmctl.recipe.schema import Container
from llmctl.run.plan import Plan

OF_DEVICES = ("--gpus", "--device", "--privileged", "--runtime", "--nv", "--nvccli", "--rocm")
"""Options by which a recipe says itself which devices there are."""
OF_MEMORY = ("--ipc", "--shm-size")


def container_files(container: Container | None) -> list[str]:
    """The files of a run folder that only a run in containers has."""
    if container is None:
        return []
    return ["container.sh", *([] if container.runtime == "apptainer" else ["stop.sh"])]


def container_values(plan: Plan) -> dict[str, Any]:
    """What the templates of a container need to know."""
    container = plan.recipe.cluster.container
    if container is None:
        return {"container": None}
    device = plan.recipe.cluster.device
    chosen = _gives(container, OF_DEVICES)
    words = [f"--mount={_mount(path)}" for path in mounted(plan)]
    if device == "cuda" and not chosen:
        words.append(_ALL_GPUS[container.runtime])
    if container.runtime != "apptainer" and not _gives(container, OF_MEMORY):
        words.append("--ipc=host")  # their own shared memory has 64 MiB, too little for collectives
    return {
        "container": container,
        "container_words": [*words, *container.args],
        "npu_devices": device == "npu" and not chosen,
    }


_ALL_GPUS = {"docker": "--gpus=all", "podman": "--device=nvidia.com/gpu=all", "apptainer": "--nv"}


def mounted(plan: Plan) -> list[str]:
    """The folders of the nodes that are there inside too, none within another one."""
    cluster, paths = plan.recipe.cluster, plan.paths
    data = paths.prepared_dir or paths.data_dir
    wanted = [cluster.workdir, paths.run_dir, paths.engine_dir, data, paths.model_path, paths.adapter_path]
    found = dict.fromkeys(path for path in [*wanted, *cluster.code] if path is not None)
    return [
        path for path in found if not any(PurePosixPath(path).is_relative_to(other) for other in found if other != path)
    ]


def _mount(path: str) -> str:
    """One `--mount`; its fields are those of a CSV line."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={path}", f"destination={path}"])
    return line.getvalue()


def _gives(container: Container, options: tuple[str, ...]) -> bool:
    return any(word.partition("=")[0] in options for word in container.args)
