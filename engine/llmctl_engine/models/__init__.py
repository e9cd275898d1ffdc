"""The project's own model families. Importing this package makes transformers' Auto classes know them."""

from __future__ import annotations

from llmctl_engine.models.registration import register

__all__ = ["register"]

register()
