"""Names of the model families that a recipe may set by hand. Standard library only."""

from __future__ import annotations

from typing import Any

FAMILIES: dict[str, dict[str, Any]] = {
    "baichuan": {"model_type": "baichuan", "norm_head": False},
    "baichuan-7b": {"model_type": "baichuan", "alibi": False, "norm_head": False},
    "baichuan-13b": {"model_type": "baichuan", "alibi": True, "norm_head": False},
    "baichuan2": {"model_type": "baichuan", "norm_head": True},
    "baichuan2-7b": {"model_type": "baichuan", "alibi": False, "norm_head": True},
    "baichuan2-13b": {"model_type": "baichuan", "alibi": True, "norm_head": True},
    "yuan": {"model_type": "yuan"},
}
"""What each says of a config, whatever its config.json says; where the size is left open, config.json tells it."""
