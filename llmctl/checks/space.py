"""The estimates of a run beside what the nodes told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmctl.checks.addresses import Values
from llmctl.checks.estimate import Need, Training, needs, sizes
from llmctl.checks.facts import Finding, Severity
from llmctl.checks.network import shared_folders

CODE = "model.config.unknown"


def node_needs(
    training: Mapping[str, Any], config: Mapping[str, Any], slots: Mapping[str, int], values: Values
) -> tuple[dict[str, Need], list[Finding]]:
    """What each node must have, and a remark where the launcher's `config` does not tell the model's size. Without a
    config the nodes' own counts; where no node could tell it, there is no estimate."""
    if not training:
        return {}, []
    try:
        told = [sizes(config)] if config else list(values.get("model.config", {}).values())
    except ValueError as error:
        title = f"the size of the model is not known: {error}; disk and memory are held against no estimate"
        return {}, [Finding(code=CODE, severity=Severity.INFO, title=title)]
    if not told:
        return {}, []
    return needs(Training(**training), told[0], slots, shared_folders(values, list(slots))), []
