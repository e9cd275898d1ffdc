"""Rows of every form to samples. Pure, standard library only. Each shape gives a Sample, or says what is wrong with the
row, in words that follow `rows with`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from llmctl_engine.sources import Source
from llmctl_engine.templates.tools import parse_calls, parse_tools
from llmctl_engine.turns import Sample, Turn

Taken = Sample | str


def text(row: Any, source: Source, number: int) -> Taken:
    """Plain text: the column `text`, else the prompt."""
    found = row.get("text", row.get(source.columns["prompt"])) if isinstance(row, dict) else row
    if not isinstance(found, str) or not found.strip():
        return "no text"
    return Sample(dataset=source.name, row=number, text=found)


def conversation(row: Any, source: Source, number: int) -> Taken:
    """A conversation, with a worse answer or a judgement where the dataset has them."""
    if not isinstance(row, dict):
        return "no keys and values"
    system = row.get(source.columns["system"])
    tools = row.get(source.columns["tools"])
    if isinstance(tools, list | dict):
        tools = json.dumps(tools, ensure_ascii=False)
    if any(part is not None and not isinstance(part, str) for part in (system, tools)):
        return "a system or tools that are no text"
    try:
        parse_tools(tools) if tools else []
    except ValueError:
        return "tools that are no JSON list of descriptions"
    shape = _alpaca if source.formatting == "alpaca" else _messages
    taken = shape(row, source)
    if isinstance(taken, str):
        return taken
    turns, own_system, rejected = taken
    if own_system and system and own_system != system:
        return f"a {source.columns['system']} beside another among the messages"
    reason = _empty(turns, rejected, source)
    if reason:
        return reason
    desired = row.get(source.columns["kto_tag"])
    if source.columns["kto_tag"] and not isinstance(desired, bool):
        return f"a {source.columns['kto_tag']} that is neither true nor false"
    return Sample(
        dataset=source.name,
        row=number,
        turns=turns,
        system=own_system or system or "",
        tools=tools or "",
        rejected=rejected,
        desired=desired if source.columns["kto_tag"] else None,
    )


Shaped = tuple[tuple[Turn, ...], str, str | None]
"""Turns, the system text among the messages, the worse answer."""


def _empty(turns: tuple[Turn, ...], rejected: str | None, source: Source) -> str | None:
    answer = source.columns["response"] if source.formatting == "alpaca" else "answer"
    if any(not turn.query.strip() and not turn.observed for turn in turns):
        return "an empty query"
    if any(not turn.answer.strip() for turn in turns) or (rejected is not None and not rejected.strip()):
        return f"an empty {answer}"
    if rejected == turns[-1].answer:
        return "a better answer that is the worse one too"
    calls = [turn.answer for turn in turns if turn.calls]
    if rejected is not None and turns[-1].calls:
        calls.append(rejected)
    try:
        for call in calls:
            parse_calls(call)
    except ValueError:
        return "a function call that is no JSON with name and arguments"
    return None


def _alpaca(row: Mapping[str, Any], source: Source) -> Shaped | str:
    names = source.columns
    asked = [row.get(names[part]) for part in ("prompt", "query")]
    if any(part is not None and not isinstance(part, str) for part in asked):
        return "a prompt that is no text"
    query = "\n".join(part for part in asked if part)
    if not query:
        return f"no {names['prompt']}"
    answers = _alpaca_answers(row, source)
    if isinstance(answers, str):
        return answers
    history = row.get(names["history"]) or []
    if not isinstance(history, list) or not all(_is_turn(turn) for turn in history):
        return f"a {names['history']} that is no list of pairs"
    turns = (*(Turn(turn[0], turn[1]) for turn in history), Turn(query, answers[0]))
    return turns, "", answers[1] if source.ranking else None


def _alpaca_answers(row: Mapping[str, Any], source: Source) -> list[str] | str:
    """One answer, or a better and a worse one: in columns of their own, or as a list (LLaMA-Factory 0.2.0)."""
    names = source.columns
    found = row.get(names["response"])
    if source.ranking and not isinstance(found, list):
        found = [row.get(names["chosen"]), row.get(names["rejected"])]
    if source.ranking and isinstance(found, list) and len(found) > 2:
        return f"more than a better and a worse {names['response']}"
    if isinstance(found, list) and len(found) >= 1 + source.ranking and all(isinstance(text, str) for text in found):
        return found
    if isinstance(found, str):
        return [found]
    return f"no {names['chosen']} and {names['rejected']}" if source.ranking else f"no {names['response']}"


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(text, str) for text in turn)


def _messages(row: Mapping[str, Any], source: Source) -> Shaped | str:
    messages = row.get(source.columns["messages"])
    if not isinstance(messages, list) or not messages:
        return f"no {source.columns['messages']}"
    if source.ranking:
        messages = [*messages, row.get(source.columns["chosen"])]
    told = _told(messages, source.tags)
    if isinstance(told, str):
        return told
    system = told.pop(0)[1] if told and told[0][0] == "system" else ""
    if len(told) % 2 or not told:
        return "no answer at the end" if told and told[-1][0] in _ASKING else "roles that do not alternate"
    pairs = list(zip(told[::2], told[1::2], strict=True))
    if not all(asked[0] in _ASKING and said[0] in _SAYING for asked, said in pairs):
        return "roles that do not alternate"
    turns = tuple(
        Turn(asked[1], said[1], observed=asked[0] == "observation", calls=said[0] == "function")
        for asked, said in pairs
    )
    rejected = None
    if source.ranking:
        worse = _told([row.get(source.columns["rejected"])], source.tags)
        if isinstance(worse, str) and isinstance(row.get(source.columns["rejected"]), dict):
            return worse
        if isinstance(worse, str) or worse[0][0] != told[-1][0]:
            return f"no {source.columns['rejected']}"
        rejected = worse[0][1]
    return turns, system, rejected


_ASKING, _SAYING = ("user", "observation"), ("assistant", "function")
Told = list[tuple[str, str]]
"""(role, text) of every message; the roles are `user`, `assistant`, `observation`, `function`, `system`."""


def _told(messages: list[Any], tags: Mapping[str, str]) -> Told | str:
    roles = {tags[f"{role}_tag"]: role for role in ("system", *_ASKING, *_SAYING)}
    told: Told = []
    for message in messages:
        if not isinstance(message, dict):
            return "a message without keys and values"
        said_by = message.get(tags["role_tag"])
        role = roles.get(said_by) if isinstance(said_by, str) else None
        if role is None:
            return f"an unknown role {str(said_by)[:40]!r}"
        if role in _SAYING and (unread := _unread(message)):
            return f"{unread}, which would be lost"
        content = _content(message.get(tags["content_tag"]))
        if role in _SAYING and message.get("tool_calls"):
            if message.get(tags["content_tag"]) is not None and (content is None or content.strip()):
                return f"{tags['content_tag']} beside tool_calls, which would be lost"
            try:
                role, content = "function", _tool_calls(message["tool_calls"])
            except ValueError as error:
                return str(error)
        if content is None:
            return "a message that is no text"
        if role == "observation" and told and told[-1][0] == role:
            content = f"{told.pop()[1]}\n</tool_response>\n<tool_response>\n{content}"
        told.append((role, content))
    return told


_UNREAD = ("reasoning_content", "reasoning", "thinking", "function_call")
"""What other programs keep beside the text of an answer."""


def _unread(message: Mapping[str, Any]) -> str | None:
    return next((key for key in _UNREAD if message.get(key) and str(message[key]).strip()), None)


def _content(found: Any) -> str | None:
    if isinstance(found, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in found):
        return "".join(part["text"] for part in found)
    return found if isinstance(found, str) else None


def _tool_calls(found: Any) -> str:
    """OpenAI's calls, whose arguments are JSON in a text, as the plain list of calls. Raises ValueError."""
    if not isinstance(found, list) or not all(
        isinstance(c, dict) and isinstance(c.get("function"), dict) for c in found
    ):
        raise ValueError("tool_calls that are no list of functions")
    calls = []
    for call in (c["function"] for c in found):
        arguments = call.get("arguments")
        try:
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            raise ValueError("arguments in tool_calls that are no JSON") from None
        calls.append({"name": call.get("name"), "arguments": arguments})
    return json.dumps(calls, ensure_ascii=False)


SHAPES: dict[str, Callable[[Any, Source, int], Taken]] = {
    "answers": conversation,
    "pairs": conversation,
    "judged": conversation,
    "text": text,
}
"""What a stage trains on -> how a row is read for it."""
STAGES = {"sft": "answers", "pt": "text", "dpo": "pairs", "rm": "pairs", "kto": "judged"}
