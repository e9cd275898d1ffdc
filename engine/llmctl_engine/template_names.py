"""The chat templates that the engine knows, as `name@version`. Standard library only: the launcher checks recipes
against it."""

from __future__ import annotations

TEMPLATE_NAMES = (
    "default@0.9.5",
    "default@0.2.0",
    "alpaca@0.9.5",
    "alpaca@0.2.0",
    "llama2@0.9.5",
    "llama2@0.2.0",
    "yuan@0.9.5",
    "yuan@0.2.0",
    "baichuan@0.2.0",
    "baichuan2@0.2.0",
)

DEFAULT_VERSION = {
    "default": "0.9.5",
    "alpaca": "0.9.5",
    "llama2": "0.9.5",
    "yuan": "0.9.5",
    "baichuan": "0.2.0",
    "baichuan2": "0.2.0",
}


def full_name(name: str) -> str | None:
    """`name@version` for a name with or without its version; None when there is no such template."""
    full = name if "@" in name else f"{name}@{DEFAULT_VERSION.get(name, '')}"
    return full if full in TEMPLATE_NAMES else None
