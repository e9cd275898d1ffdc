"""Plan to files: relative path -> text. Pure; the same for `render`, `run --dry-run` and the real run."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2
from llmctl_engine.config import DataConfig, EngineConfig, LoraSettings, ModelConfig, TrainSettings, to_json
from llmctl_engine.devices import DEVICES

from llmctl.quoting import sh_quote
from llmctl.recipe.load import dump_recipe
from llmctl.recipe.schema import Recipe
from llmctl.render.container import container_files, container_values
from llmctl.render.deepspeed import ds_config
from llmctl.render.slurm import FILES as SLURM_FILES
from llmctl.render.slurm import slurm_values
from llmctl.resources import data_dir
from llmctl.run.plan import Plan

EXACT_PREFIX = {"NCCL_SOCKET_IFNAME": "=", "HCCL_SOCKET_IFNAME": "="}
"""NCCL and HCCL match a plain value as a prefix (`bond0` also takes `bond0.2093`); `=` asks for the name itself."""


def render(plan: Plan) -> dict[str, str]:
    """Every file of the run folder by its relative path. Raises ManyErrors when the DeepSpeed lint objects."""
    container = plan.recipe.cluster.container
    pdsh = plan.recipe.launch.backend == "pdsh"
    names = ["hostfile", "env.sh", "enter.sh", "launch.sh", *container_files(container)]
    names += ["rank.sh", "deepspeed_env"] if pdsh and container is None else []
    names += SLURM_FILES if plan.recipe.launch.backend == "slurm" else ()
    values = _values(plan)
    files = {"recipe.yaml": dump_recipe(plan.recipe)}
    deepspeed = ds_config(plan)
    if deepspeed is not None:
        files["ds_config.json"] = json.dumps(deepspeed, indent=2, ensure_ascii=False) + "\n"
    files["engine.json"] = to_json(engine_config(plan))
    if container is not None:  # inside, a node's part starts as it would on a node without a container
        files["inside.sh"] = _templates().get_template("launch.sh.j2").render(values | _INSIDE)
    return files | {name: _templates().get_template(f"{name}.j2").render(values) for name in names}


_INSIDE = {"container": None, "pdsh": False, "script": "inside.sh"}


def engine_config(plan: Plan) -> EngineConfig:
    """The engine's input for a plan."""
    recipe, paths = plan.recipe, plan.paths
    train = recipe.train.model_dump(exclude={"lora"})
    lora = recipe.train.lora.model_dump() | {"adapter": paths.adapter_path}
    return EngineConfig(
        run_id=plan.run_id,
        device=recipe.cluster.device,
        output_dir=f"{paths.run_dir}/output",
        model=ModelConfig(
            path=paths.model_path,
            init=recipe.model.init,
            family=recipe.model.family,
            template=recipe.model.template,
            trust_remote_code=recipe.model.trust_remote_code,
            attention=recipe.model.attention,
        ),
        data=DataConfig(
            dir=paths.data_dir,
            datasets=recipe.data.datasets,
            cutoff_len=recipe.data.cutoff_len,
            packing=recipe.data.packing,
            max_samples=recipe.data.max_samples,
            broken_rows=recipe.data.broken_rows,
            loss_on=recipe.data.loss_on,
            cutoff_rule=recipe.data.cutoff_rule,
            mix=recipe.data.mix,
            probabilities=recipe.data.probabilities,
            fill=recipe.data.fill,
            prepared=paths.prepared_dir,
        ),
        train=TrainSettings(**train, lora=LoraSettings(**lora)),
        deepspeed=f"{paths.run_dir}/ds_config.json" if recipe.deepspeed else None,
        # Ranks that torchrun starts again continue; at the first start there is no checkpoint yet.
        resume=plan.resume or recipe.launch.elastic > 0,
        world_size=plan.world_size,
    )


def activation(recipe: Recipe) -> str | None:
    """The shell text that makes the recipe's environment on a node; None without activation lines."""
    if not recipe.cluster.activate:
        return None
    return _templates().get_template("activate.sh.j2").render(_activation(recipe))


def environment(recipe: Recipe) -> dict[str, str]:
    """The variables that every process of a run gets, besides PYTHONPATH and what differs from node to node."""
    own = {name: str(value) for name, value in recipe.cluster.env.items() if name != "PYTHONPATH"}
    return {
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    } | own


def entering(recipe: Recipe, variables: Mapping[str, str]) -> str:
    """The shell text after which a node's environment is that of the run: activation, then `variables`, which are
    those of `environment` but for what is secret."""
    exports = "".join(f"export {name}={sh_quote(value)}\n" for name, value in variables.items())
    if own := recipe.cluster.env.get("PYTHONPATH"):
        exports += f'export PYTHONPATH={sh_quote(str(own))}"${{PYTHONPATH:+:$PYTHONPATH}}"\n'
    return (activation(recipe) or "") + exports


def shell_of(recipe: Recipe) -> str:
    """Activation lines are bash's (`source`, conda); without them plain sh is enough."""
    return "bash" if recipe.cluster.activate else "sh"


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - shell files; every value passes the sh filter
    )
    environment.filters["sh"] = sh_quote
    return environment


def _values(plan: Plan) -> dict[str, Any]:
    cluster = plan.recipe.cluster
    interface_variables = [
        (name, EXACT_PREFIX.get(name, ""))
        for name in DEVICES[cluster.device].interface_variables
        if name not in cluster.env
    ]
    world = {node.name: list(cluster.devices or range(node.slots)) for node in plan.nodes}
    return {
        "plan": plan,
        "rendezvous": f"{_bracketed(plan.master_addr)}:{plan.master_port}",
        "script": "launch.sh",
        "pdsh": plan.recipe.launch.backend == "pdsh",
        **container_values(plan),
        **_master(plan),
        "shell": shell_of(plan.recipe),
        **_activation(plan.recipe),
        "environment": {"LLMCTL_RUN_ID": plan.run_id} | _visible(plan.recipe) | environment(plan.recipe),
        "python_path": ":".join(
            [plan.paths.engine_dir, *([str(own)] if (own := cluster.env.get("PYTHONPATH")) else [])]
        ),
        "interface_variables": interface_variables,
        "world_info": base64.urlsafe_b64encode(json.dumps(world).encode()).decode(),
        "pdsh_ssh_args": _pdsh_ssh_args(plan),
    }


def _bracketed(address: str) -> str:
    """An IPv6 address as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def _master(plan: Plan) -> dict[str, Any]:
    """Where the ranks meet, as shell words; with Slurm only the job knows it."""
    if plan.recipe.launch.backend != "slurm":
        return {"master_addr": sh_quote(plan.master_addr), "master_port": plan.master_port}
    place = {"master_addr": '"$LLMCTL_MASTER_ADDR"', "master_port": '"$LLMCTL_MASTER_PORT"'}
    return {**place, **slurm_values(plan)}


def _activation(recipe: Recipe) -> dict[str, Any]:
    lines = recipe.cluster.activate
    return {"activate": lines, "conda": any(line.split()[:1] == ["conda"] for line in lines)}


def _visible(recipe: Recipe) -> dict[str, str]:
    """What restricts the ranks to the devices that the recipe names. DeepSpeed's launcher sets it anew for each rank,
    from the same numbers."""
    variable, devices = DEVICES[recipe.cluster.device].visible, recipe.cluster.devices
    return {variable: ",".join(map(str, devices))} if variable and devices else {}


def _pdsh_ssh_args(plan: Plan) -> str:
    user, port = plan.recipe.cluster.user, plan.recipe.cluster.port
    words = ["-o BatchMode=yes", "-o StrictHostKeyChecking=yes", "-o ConnectTimeout=10"]
    return " ".join([*words, *([f"-o User={user}"] if user else []), *([f"-p {port}"] if port else [])])
