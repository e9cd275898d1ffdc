"""What the nodes of a recipe are asked and held to."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from llmctl.checks.estimate import Training, checkpoints
from llmctl.checks.pins import wrong_pins
from llmctl.checks.question import Question
from llmctl.errors import ManyErrors, UsageError
from llmctl.recipe.schema import Recipe
from llmctl.render.files import environment
from llmctl.run.redact import Redactor, is_secret_name
from llmctl.workflows.render import Draft


def question_of(planned: Draft) -> Question:
    """What a recipe's nodes are asked. Raises UsageError for pins in `cluster.expect` that pin nothing."""
    question = _question(planned)
    errors = [
        UsageError(f"cluster.expect.{pin}: {what}", where=planned.loaded.place("cluster", "expect", pin), hint=hint)
        for pin, (what, hint) in wrong_pins(question).items()
    ]
    if errors:
        raise errors[0] if len(errors) == 1 else ManyErrors(errors, where=str(planned.loaded.path))
    return question


def _question(planned: Draft) -> Question:
    recipe, paths, staged = planned.loaded.recipe, planned.plan.paths, planned.inputs.sizes
    container = recipe.cluster.container
    data = None if planned.inputs.prepared else paths.data_dir
    places = {"model": paths.model_path, "adapter": paths.adapter_path, "data": data}
    return Question(
        workdir=recipe.cluster.workdir,
        python=planned.plan.python,
        device=recipe.cluster.device,
        backend=recipe.launch.backend,
        interface=recipe.cluster.interface,
        engine=container is None,
        deepspeed=recipe.deepspeed is not None,
        lora=recipe.train.method == "lora",
        places={kind: [place] for kind, place in places.items() if place is not None and kind not in staged}
        | ({"code": list(recipe.cluster.code)} if recipe.cluster.code else {}),
        slots={node.name: node.slots or recipe.cluster.devices_per_node for node in planned.nodes},
        count=len(planned.nodes),
        disk=sum(staged.values()),
        training=asdict(_training(planned)),
        model=_model_config(planned),
        variables=told_variables(recipe),
        container=container.model_dump(include={"runtime", "image"}) if container else {},
        expect=dict(recipe.cluster.expect),
    )


def _training(planned: Draft) -> Training:
    recipe, plan = planned.loaded.recipe, planned.plan
    train, zero = recipe.train, recipe.deepspeed
    offloaded = ((zero and zero.model_extra) or {}).get("zero_optimization") or {}
    return Training(
        method=train.method,
        rank=train.lora.r,
        precision=train.precision,
        device=recipe.cluster.device,
        zero=zero.stage if zero else None,
        offload=(offloaded.get("offload_optimizer") or {}).get("device") == "cpu",
        checkpoints=checkpoints(
            save_steps=train.save_steps,
            limit=train.save_total_limit,
            steps=plan.steps(planned.inputs.samples),
            resumed=plan.resume,
        ),
    )


def _model_config(planned: Draft) -> dict[str, Any]:
    """The model's config where the launcher has it: of a model from scratch, or of one that is staged."""
    recipe, staged = planned.loaded.recipe, planned.inputs.staged.get("model")
    if recipe.model.init is not None:
        return dict(recipe.model.init)
    try:
        config = json.loads(staged.files["config.json"].read_text(encoding="utf-8")) if staged else {}
    except (OSError, ValueError) as error:
        raise UsageError("is no config of a model", where="model.path, config.json", why=str(error)) from None
    return config if isinstance(config, dict) else {}


def told_variables(recipe: Recipe) -> dict[str, str]:
    """What a node is told of the run's variables: no secret, which the probe does not need."""
    redactor = Redactor()
    return {
        name: value
        for name, value in environment(recipe).items()
        if not is_secret_name(name) and not redactor.text(f"{name}={value}").masked
    }
