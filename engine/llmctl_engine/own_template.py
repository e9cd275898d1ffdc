"""The chat template that a model brings in its own folder, taken apart into turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmctl_engine.templates.form import Template
from llmctl_engine.templates.segments import Pair
from llmctl_engine.templates.tools import parse_calls, parse_tools
from llmctl_engine.turns import Turn

OWN_TEMPLATE = Template()
"""What the engine asks of a template beyond its segments: no end after the sample, the newest rule for cutting."""


def own_segments(tokenizer: Any, turns: Sequence[Turn], system: str, tools: str) -> list[Pair]:
    """The parts of every turn as the tokenizer's `chat_template` writes them: the text up to where the model goes on,
    and what its answer adds.

    Raises ValueError for a conversation that the template refuses, or in which no border of an answer can be found."""
    listed = parse_tools(tools) if tools else None
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    asked: list[str] = []
    answered: list[str] = []
    for turn in turns:
        messages.append({"role": "tool" if turn.observed else "user", "content": turn.query})
        asked.append(_render(tokenizer, messages, listed, asking=True))
        messages.append(_answer(turn))
        answered.append(_render(tokenizer, messages, listed, asking=False))
    pairs: list[Pair] = []
    start = 0
    # An earlier answer is taken as it stands before the next question: some templates drop its thoughts there.
    for turn, before, after, following in zip(turns, asked, answered, [*asked[1:], answered[-1]], strict=True):
        end = _end_of_answer(turn.answer, before, after, following)
        pairs.append(((before[start:],), (following[len(before) : end],)))
        start = end
    return pairs


def _end_of_answer(answer: str, before: str, after: str, following: str) -> int:
    if following.startswith(before):
        if following.startswith(after) and after.startswith(before):
            return len(after)
        closing = after.rpartition(answer)[2]
        if answer in after and following.startswith(answer + closing, len(before)):
            return len(before) + len(answer) + len(closing)
    raise ValueError("the model's chat template writes earlier turns otherwise once there are later ones")


def _answer(turn: Turn) -> dict[str, Any]:
    if not turn.calls:
        return {"role": "assistant", "content": turn.answer}
    called = [
        {"type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in parse_calls(turn.answer)
    ]
    return {"role": "assistant", "content": "", "tool_calls": called}


def _render(tokenizer: Any, messages: list[dict[str, Any]], tools: Any, *, asking: bool) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=asking)
    except (TemplateError, TypeError) as error:
        raise ValueError(f"the model's chat template refuses it: {error}") from error
    return text
