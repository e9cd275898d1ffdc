"""The chat templates of the engine, as they are told to a user."""

from __future__ import annotations

from dataclasses import dataclass

from llmctl_engine.templates import BOS, EOS, OWN, TEMPLATES, Part, Template

from llmctl.errors import UsageError


@dataclass(frozen=True)
class Listed:
    """A template: special tokens stand in their own form, `<bos>` and `<eos>` are the tokenizer's; `{}` is the text."""

    name: str
    turn: str
    """A question and its answer in one text."""
    start: list[str]
    system: list[str]
    user: list[str]
    answer: list[str]
    between: list[str]
    observation: list[str] | None
    """Around what a tool gave back; null where that is written as a user's text."""
    function: list[str] | None
    """Around calls of functions; null where they are written as an answer."""
    default_system: str
    stop: list[str]
    efficient_eos: bool
    replace_eos: bool
    tools: str | None
    cutoff_rule: str
    needs: list[str]
    """The special tokens that the tokenizer must have."""


def list_templates(name: str | None) -> list[Listed]:
    """All templates, or those of a name with or without version, in the order of name and version. Raises UsageError
    for a name that there is not."""
    found = [full for full in TEMPLATES if name in (None, full, full.split("@")[0])]
    if not found:
        why = "it lies in the model's own folder" if name == OWN else ""
        names = sorted({full.split("@")[0] for full in TEMPLATES})
        raise UsageError(f"no template {name}", why=why, hint=f"there are {', '.join(names)}")
    return [_listed(full, TEMPLATES[full]) for full in sorted(found, key=_key)]


def _key(full: str) -> tuple[str, list[int]]:
    name, version = full.split("@")
    return name, [int(number) for number in version.split(".")]


def _listed(name: str, template: Template) -> Listed:
    end = ["<eos>"] if template.efficient_eos else []
    return Listed(
        name=name,
        turn="".join([*_texts(template.user), *_texts(template.answer), *end]).replace("\n", "\\n"),
        start=_texts(template.start),
        system=_texts(template.system),
        user=_texts(template.user),
        answer=_texts(template.answer),
        between=_texts(template.between),
        observation=None if template.observation is None else _texts(template.observation),
        function=None if template.function is None else _texts(template.function),
        default_system=template.default_system,
        stop=list(template.stop),
        efficient_eos=template.efficient_eos,
        replace_eos=template.replace_eos,
        tools=template.tools,
        cutoff_rule=template.cutoff_rule,
        needs=list(template.special_tokens()),
    )


def _texts(parts: tuple[Part, ...]) -> list[str]:
    own = {BOS: "<bos>", EOS: "<eos>"}
    return [part if isinstance(part, str) else own.get(part, part.name) for part in parts]
