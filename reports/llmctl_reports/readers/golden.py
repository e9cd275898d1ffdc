"""Golden values of Megatron-LM, ModelLink and MindSpeed-LLM: one JSON object with a list or a mapping of losses."""

from __future__ import annotations

from typing import Any

from llmctl_reports.errors import ReportError
from llmctl_reports.readers.common import number, parsed, whole
from llmctl_reports.readers.gather import Gathering
from llmctl_reports.readers.source import Source
from llmctl_reports.values import RunLog

KEY = "lm loss"


def sniff(text: str) -> bool:
    """Whether it is an object with losses of this kind."""
    return text.lstrip()[:1] == "{" and f'"{KEY}"' in text


def read(source: Source) -> RunLog:
    """All losses; a list begins at step 1. Raises ReportError when the JSON is broken."""
    try:
        losses = parsed(source.text())[KEY]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError("the file is no whole JSON", where=str(source.path), why=str(error)) from None
    found = Gathering()
    for step, loss in _pairs(losses):
        found.add(step, number(loss))
    return RunLog(source=str(source.path), format="golden values", points=found.points(), dropped=found.dropped)


def _pairs(losses: Any) -> list[tuple[int, Any]]:
    if isinstance(losses, list):
        return list(enumerate(losses, 1))
    values = losses.get("values") if isinstance(losses, dict) else None
    if not isinstance(values, dict):
        return []
    steps = ((whole(step), loss) for step, loss in values.items())
    return sorted((step, loss) for step, loss in steps if step is not None)
