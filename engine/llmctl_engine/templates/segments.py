"""A conversation and a template to the parts of every turn. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from llmctl_engine.templates.form import Part, Template
from llmctl_engine.templates.tools import FORMATS, ToolFormat, parse_calls, parse_tools
from llmctl_engine.turns import Turn

Pair = tuple[tuple[Part, ...], tuple[Part, ...]]
"""The parts of one turn: prompt, answer."""


def segments(template: Template, turns: Sequence[Turn], system: str = "", tools: str = "") -> list[Pair]:
    """The parts of every turn of a conversation. `system` empty takes the default; `tools` is a JSON list.

    Raises ValueError for tools or calls of which the template knows nothing, or that are written otherwise."""
    pairs: list[Pair] = []
    opening = _opening(template, system, tools)
    for number, turn in enumerate(turns if template.history else turns[-1:]):
        query = turn.query
        before = template.between
        if number == 0:
            before = template.start
            if template.system_in_query:
                query = "".join(part for part in opening if isinstance(part, str)) + query
            else:
                before += opening
        asking = template.user if template.observation is None or not turn.observed else template.observation
        pairs.append((before + _fill(asking, query, number), _answer(template, turn)))
    return pairs


def _opening(template: Template, system: str, tools: str) -> tuple[Part, ...]:
    text = system or template.default_system
    described = ""
    if tools and (listed := parse_tools(tools)):
        described = _format(template).describe(listed)
    if text or tools or template.force_system:
        return _fill(template.system, text + described, 0)
    return ()


def _answer(template: Template, turn: Turn) -> tuple[Part, ...]:
    if not turn.calls:
        return _fill(template.answer, turn.answer, 0)
    called = _format(template).call(parse_calls(turn.answer))
    return _fill(template.answer if template.function is None else template.function, called, 0)


def _format(template: Template) -> ToolFormat:
    if template.tools is None:
        raise ValueError("the template knows no tools")
    return FORMATS[template.tools]


def _fill(parts: tuple[Part, ...], text: str, number: int) -> tuple[Part, ...]:
    return tuple(
        part.replace("{n}", str(number)).replace("{}", text, 1) if isinstance(part, str) else part for part in parts
    )
