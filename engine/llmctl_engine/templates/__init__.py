"""Chat templates as data, `name@version`. Standard library only."""

from __future__ import annotations

from llmctl_engine.templates.form import BOS, EOS, Part, Template, Token
from llmctl_engine.templates.marked import MARKED
from llmctl_engine.templates.plain import PLAIN
from llmctl_engine.templates.segments import Pair, segments

TEMPLATES: dict[str, Template] = PLAIN | MARKED
"""`name@version` -> template."""

OWN = "own"
"""The name of the template that lies in the model's own folder."""


def full_name(name: str) -> str | None:
    """`name@version` for a name with or without its version, the newest without; None for no such template."""
    if name in TEMPLATES or name == OWN:
        return name
    versions = [full for full in TEMPLATES if full.split("@")[0] == name]
    return max(versions, key=lambda full: [int(n) for n in full.split("@")[1].split(".")], default=None)


__all__ = ["BOS", "EOS", "OWN", "TEMPLATES", "Pair", "Part", "Template", "Token", "full_name", "segments"]
