"""What every shipped recipe renders to, with all that changes from run to run held fixed.

`python -m tests.render.accept` writes it to tests/golden after a change that is meant.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from llmctl.recipe.hosts import recipe_nodes
from llmctl.recipe.load import load_recipe
from llmctl.render.commands import commands
from llmctl.render.files import render
from llmctl.resources import data_dir
from llmctl.run.plan import NodePaths, make_plan

GOLDEN = Path(__file__).parents[1] / "golden"
VARIANTS: dict[str, tuple[str, ...]] = {
    "baichuan13b_2x8npu+pdsh": ("launch.backend=pdsh",),
    "baichuan13b_2x8npu+podman": ("cluster.container={runtime: podman, image: llmctl-cann:8.2}",),
    "baichuan13b_2x8npu+pdsh+docker": (
        "launch.backend=pdsh",
        "cluster.container={runtime: docker, image: llmctl-cann:8.2}",
    ),
    "baichuan13b_2x8npu+slurm+docker": (
        "launch.backend=slurm",
        "cluster.container={runtime: docker, image: llmctl-cann:8.2}",
    ),
    "baichuan13b_2x8npu+slurm": (
        "launch.backend=slurm",
        "launch.slurm={partition: train, time_limit: '24:00:00', requeue: 3, args: [--cpus-per-task=64]}",
    ),
    "yuan2_2b_full_8gpu+slurm": (
        "launch.backend=slurm",
        "cluster.nodes=[]",
        "launch.slurm={login: me@login1, nodes: 2, account: lab, gres: 'gpu:a100:8'}",
    ),
    "baichuan13b_2x8npu+apptainer": ("cluster.container={runtime: apptainer, image: /data/images/llmctl.sif}",),
}
"""Further cases, `recipe+word`: what a user can switch to."""


def cases() -> dict[str, tuple[str, ...]]:
    """Every golden folder and the `--set`s that lead to it."""
    return {path.stem: () for path in sorted(data_dir("recipes").glob("*.yaml"))} | VARIANTS


def rendered(case: str) -> dict[str, str]:
    """Relative path -> text, `commands.txt` among it."""
    loaded = load_recipe(case.partition("+")[0], sets=cases()[case])
    recipe = loaded.recipe
    root = recipe.cluster.workdir or "/launcher"
    nodes = recipe_nodes(recipe, loaded.folder)
    run_id = f"{recipe.name}-20260101-000000-abcd"
    plan = make_plan(
        recipe,
        nodes,
        run_id=run_id,
        paths=NodePaths(
            run_dir=f"{root}/runs/{run_id}",
            engine_dir=f"{root}/engine/0123456789abcdef",
            data_dir=f"{root}/{recipe.data.dir}",
            model_path=recipe.model.path and f"{root}/{recipe.model.path}",
            adapter_path=None,
        ),
        interfaces={node.name: "enp67s0f5" for node in nodes if node.name != "localhost"},
        python="python3" if recipe.launch.backend == "local" else None,
    )
    lines = "".join(f"{command.node}: {command.command}\n" for command in commands(plan))
    return render(plan) | {"commands.txt": lines}


def accept() -> None:
    """Write every case to tests/golden and drop what no case renders any more."""
    if GOLDEN.is_dir():
        shutil.rmtree(GOLDEN)
    for case in cases():
        for name, text in rendered(case).items():
            path = GOLDEN / case / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    accept()
