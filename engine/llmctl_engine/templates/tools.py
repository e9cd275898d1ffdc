"""How the descriptions of tools and the calls of functions are written. Standard library only.

Sources: LLaMA-Factory at v0.5.0 and v0.6.0 (data/formatter.py), v0.9.0 and v0.9.5 (data/tool_utils.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Call = tuple[str, Any]
"""The name of a function and its arguments."""


@dataclass(frozen=True)
class ToolFormat:
    """Texts of tools and calls, of such as `parse_tools` and `parse_calls` give."""

    describe: Callable[[Sequence[dict[str, Any]]], str]
    """The text that follows the system text."""
    call: Callable[[Sequence[Call]], str]
    """The text of an answer that calls functions."""


def parse_calls(text: str) -> list[Call]:
    """The calls in the JSON of one call or a list of them. Raises ValueError for anything else."""
    found = json.loads(text)
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(c, dict) and isinstance(c.get("name"), str) and "arguments" in c for c in calls):
        raise ValueError("a function call needs name and arguments")
    return [(call["name"], call["arguments"]) for call in calls]


def parse_tools(text: str) -> list[dict[str, Any]]:
    """The tools in a JSON list. Raises ValueError for anything else."""
    tools = json.loads(text)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and _is_described(bare(tool)) for tool in tools):
        raise ValueError("tools must be a list of descriptions, each with a name and its parameters as a JSON schema")
    return tools


def bare(tool: dict[str, Any]) -> dict[str, Any]:
    """The description itself, taken out of OpenAI's `{"type": "function", "function": ...}`."""
    inner = tool.get("function") if tool.get("type") == "function" else tool
    return inner if isinstance(inner, dict) else {}


def _is_described(tool: dict[str, Any]) -> bool:
    parameters = tool.get("parameters") or {}
    if not isinstance(tool.get("name"), str) or not isinstance(parameters, dict):
        return False
    properties, required = parameters.get("properties", {}), parameters.get("required", [])
    return (
        isinstance(properties, dict)
        and isinstance(required, list)
        and all(
            isinstance(about, dict)
            and isinstance(about.get("enum") or [], list)
            and isinstance(about.get("items") or {}, dict)
            for about in properties.values()
        )
    )


def _dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _wrapped(tool: dict[str, Any]) -> dict[str, Any]:
    return tool if tool.get("type") == "function" else {"type": "function", "function": tool}


def _parameter(name: str, about: dict[str, Any], required: Sequence[str], *, items: bool) -> str:
    choice = f", should be one of [{', '.join(map(str, about['enum']))}]" if about.get("enum") else ""
    inner = f", where each item should be {about['items'].get('type', '')}" if items and about.get("items") else ""
    needed = ", required" if name in required else ""
    return f"  - {name} ({about.get('type', '')}{needed}): {about.get('description', '')}{choice}{inner}\n"


def _listed(tools: Sequence[dict[str, Any]], *, items: bool = True) -> str:
    text = ""
    for tool in map(bare, tools):
        parameters = tool.get("parameters") or {}
        required = parameters.get("required", [])
        properties = parameters.get("properties", {}).items()
        lines = "".join(_parameter(name, about, required, items=items) for name, about in properties)
        text += f"> Tool Name: {tool['name']}\nTool Description: {tool.get('description', '')}\nTool Args:\n{lines}\n"
    return f"You have access to the following tools:\n{text}"


def _names(tools: Sequence[dict[str, Any]]) -> str:
    return ", ".join(bare(tool)["name"] for tool in tools)


_KWARGS = 'in a JSON format representing the kwargs (e.g. ```{"input": "hello world", "num_beams": 5}```)'


def _question(tools: Sequence[dict[str, Any]]) -> str:
    return (
        f"{_listed(tools, items=False)}Use the following format to answer the question:\n```\n"
        f"Action: the action to take, should be one of [{_names(tools)}] if using a tool.\n"
        f"Action Input: the input to the action, {_KWARGS}.\n```"
    )


def _tool_name(end: str) -> Callable[[Sequence[dict[str, Any]]], str]:
    """`end` closes the last two sentences."""
    return lambda tools: (
        f"{_listed(tools)}Use the following format if using a tool:\n```\n"
        f"Action: tool name (one of [{_names(tools)}]){end}\n"
        f"Action Input: the input to the tool, {_KWARGS}{end}\n```\n"
    )


def _actions(calls: Sequence[Call]) -> str:
    return "\n".join(f"Action: {name}\nAction Input: {_dump(arguments)}" for name, arguments in calls)


def _name_and_arguments(calls: Sequence[Call]) -> str:
    return "\n".join(f"{name}\n{_dump(arguments)}" for name, arguments in calls)


def _glm4(tools: Sequence[dict[str, Any]]) -> str:
    return (
        "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，"
        "你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具"
        + "".join(
            f"\n\n## {tool['name']}\n\n{_dump(tool, 4)}\n在调用上述函数时，请使用 Json 格式表示调用的参数。"
            for tool in map(bare, tools)
        )
    )


def _qwen(tools: Sequence[dict[str, Any]]) -> str:
    return (
        "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
        + "".join("\n" + _dump(_wrapped(tool)) for tool in tools)
        + "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, '
        '"arguments": <args-json-object>}\n</tool_call>'
    )


def _qwen_calls(calls: Sequence[Call]) -> str:
    return "\n".join(
        f"<tool_call>\n{_dump({'name': name, 'arguments': arguments})}\n</tool_call>" for name, arguments in calls
    )


def _llama3(tools: Sequence[dict[str, Any]]) -> str:
    # LLaMA-Factory writes the day of the run; a fixed one, the default of Llama 3.1's own template, keeps ids the same.
    return (
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        "You have access to the following functions. To call a function, please respond with JSON for a function "
        'call. Respond in the format {"name": function name, "parameters": dictionary of argument name and its '
        "value}. Do not use variables.\n\n" + "".join(_dump(_wrapped(tool), 4) + "\n\n" for tool in tools)
    )


def _llama3_calls(calls: Sequence[Call]) -> str:
    objects = [{"name": name, "parameters": arguments} for name, arguments in calls]
    return _dump(objects[0] if len(objects) == 1 else objects)


def _mistral(tools: Sequence[dict[str, Any]]) -> str:
    return f"[AVAILABLE_TOOLS] {_dump([_wrapped(tool) for tool in tools])}[/AVAILABLE_TOOLS]"


def _mistral_calls(calls: Sequence[Call]) -> str:
    return _dump([{"name": name, "arguments": arguments} for name, arguments in calls])


FORMATS: dict[str, ToolFormat] = {
    "action@0.5.0": ToolFormat(_question, _actions),
    "action@0.6.0": ToolFormat(_tool_name("."), _actions),
    "action@0.9.0": ToolFormat(_tool_name(""), lambda calls: "".join(_actions([call]) + "\n" for call in calls)),
    "action@0.9.5": ToolFormat(_tool_name(""), _actions),
    "chatglm3@0.5.0": ToolFormat(_question, _name_and_arguments),
    "glm4@0.9.5": ToolFormat(_glm4, _name_and_arguments),
    "llama3@0.9.5": ToolFormat(_llama3, _llama3_calls),
    "mistral@0.9.5": ToolFormat(_mistral, _mistral_calls),
    "qwen@0.9.5": ToolFormat(_qwen, _qwen_calls),
}
"""Name -> how tools and calls are written."""
