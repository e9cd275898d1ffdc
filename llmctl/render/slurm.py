"""What Slurm is asked for, as options of sbatch."""

from __future__ import annotations

from typing import Any

from llmctl_engine.devices import DEVICES

from llmctl.recipe.hostlists.slurm import Slurm as Nodelist
from llmctl.recipe.hostlists.values import Host, HostList
from llmctl.recipe.hosts import Node
from llmctl.recipe.schema import Recipe, Slurm
from llmctl.run.plan import Plan

FILES = ("submit.sh", "slurm.sh", "slurm_node.sh")
GRES = {"npu": "npu", "cuda": "gpu"}
"""What sites call the devices."""


def slurm_of(recipe: Recipe) -> Slurm:
    """What the recipe asks of Slurm."""
    return recipe.launch.slurm or Slurm()


def chosen_by_slurm(recipe: Recipe) -> bool:
    """Whether the recipe names no nodes but only how many."""
    return recipe.launch.backend == "slurm" and slurm_of(recipe).nodes is not None


def allocation(plan: Plan) -> list[str]:
    """The options that say which nodes, for sbatch and for salloc alike."""
    slurm = slurm_of(plan.recipe)
    words = [f"--nodes={len(plan.nodes)}"]
    if not chosen_by_slurm(plan.recipe):
        names = HostList(hosts=tuple(Host(node=Node(name=node.name)) for node in plan.nodes))
        words.append(f"--nodelist={Nodelist().write(names).strip()}")
    asked = {"partition": slurm.partition, "account": slurm.account, "qos": slurm.qos, "gres": _gres(plan)}
    return [*words, *(f"--{name}={value}" for name, value in asked.items() if value), *slurm.args]


def batch(plan: Plan) -> list[str]:
    """The options of sbatch."""
    slurm = slurm_of(plan.recipe)
    words = ["--parsable", f"--job-name={plan.run_id}", *allocation(plan), "--ntasks-per-node=1"]
    if slurm.time_limit is not None:
        words.append(f"--time={slurm.time_limit}")
    words += [
        f"--signal=B:USR1@{slurm.signal_seconds}",
        "--requeue" if slurm.requeue else "--no-requeue",
        f"--output=logs/{plan.nodes[0].name}/slurm.log",
        "--open-mode=append",
        "--export=ALL",
    ]
    return words


def slurm_values(plan: Plan) -> dict[str, Any]:
    """What the templates of a job need to know."""
    recipe = plan.recipe
    device = DEVICES[recipe.cluster.device]
    return {
        "sbatch": batch(plan),
        "counted": chosen_by_slurm(recipe),
        "gres": GRES.get(device.name),
        "visible": None if recipe.cluster.devices else device.visible,
        "requeue": slurm_of(recipe).requeue,
    }


def _gres(plan: Plan) -> str | None:
    asked, device = slurm_of(plan.recipe).gres, plan.recipe.cluster.device
    if asked is None and device in GRES:
        return f"{GRES[device]}:{max(node.slots for node in plan.nodes)}"
    return None if asked == "none" else asked
