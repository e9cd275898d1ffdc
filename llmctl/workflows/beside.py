"""What lies beside a log of another trainer and tells how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmctl.errors import UsageError
from llmctl.recipe.yaml_file import read_mapping
from llmctl.run.differences import Told
from llmctl.run.foreign import as_recipe, shape

SETTINGS = ("training_args.yaml", "train.yaml", "args.json", "training_args.json")
"""A trainer's settings; the first that is there counts. `training_args.bin` is a pickle and is never opened."""
MODEL = "config.json"
STATE = "trainer_state.json"
ADAPTER = "adapter_config.json"
CONFIGS = (*SETTINGS, MODEL, ADAPTER, STATE)
LARGEST = 64 << 20
"""Bytes beyond which a file is no settings."""


def told_beside(log: Path) -> Told | None:
    """What the files in a log's folder tell of its run; None where there are none. A file that cannot be read tells
    nothing: it is not what was asked for."""
    folder = log if log.is_dir() else log.parent
    found = {name: _mapping(folder / name) for name in CONFIGS}
    settings = next((found[name] for name in SETTINGS if found[name]), {})
    steps = found[STATE].get("max_steps")
    recipe, facts = as_recipe(settings, found[ADAPTER]), shape(found[MODEL])
    run = {"total_steps": steps} if isinstance(steps, int) and steps > 0 else {}
    return Told(recipe=recipe, run=run, facts=facts, whole=False) if recipe or facts or run else None


def model_shape(folder: Path) -> dict[str, Any]:
    """The facts of the model that a run wrote; none where its configuration was not brought here."""
    return shape(_mapping(folder / MODEL))


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return {}
        if path.suffix == ".yaml":
            return read_mapping(path, what="settings", hint="")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, UsageError):
        return {}
    return value if isinstance(value, dict) else {}
