"""Chat templates as data, `name@version`. Standard library only.

Sources: LLaMA-Factory at the tags v0.2.0 (src/llmtuner/extras/template.py), v0.5.0 and v0.9.5
(src/llamafactory/data/template.py). A version names the release whose token ids the template gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """One special token: `bos` and `eos` are the tokenizer's own, anything else is looked up by its text."""

    name: str


Part = str | Token
"""A text that is tokenised by itself, or a special token."""

BOS, EOS = Token("bos"), Token("eos")


@dataclass(frozen=True, kw_only=True)
class Template:
    """How a conversation becomes segments. `{}` stands for the text of the segment."""

    user: tuple[Part, ...]
    answer: tuple[Part, ...] = ("{}", EOS)
    system: tuple[Part, ...] = ("{}",)
    default_system: str = ""
    start: tuple[Part, ...] = ()
    """Before the first turn."""
    between: tuple[Part, ...] = ()
    """Before each later turn."""
    system_in_query: bool = False
    """The system text is written before the first query, inside the user segment (Llama 2)."""
    efficient_eos: bool = False
    """Answers carry no EOS; one ends the sample, and the first label of each later turn is EOS."""
    cut: str = "0.9.5"
    """The release whose rule cuts samples that are longer than `cutoff_len`, see `labels.CUTS`."""


_DEFAULT_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_ALPACA_SYSTEM = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)
_ALPACA_USER = "### Instruction:\n{}\n\n### Response:\n"
_LLAMA2_SYSTEM_SEGMENT = ("<<SYS>>\n{}\n<</SYS>>\n\n",)
_LLAMA2_SYSTEM = (
    "You are a helpful, respectful and honest assistant. "
    "Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, "
    "racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, "
    "explain why instead of answering something not correct. "
    "If you don't know the answer to a question, please don't share false information."
)

TEMPLATES: dict[str, Template] = {
    "default@0.9.5": Template(
        user=("Human: {}", EOS, "\nAssistant:"),
        answer=("{}", EOS, "\n"),
        system=("System: {}", EOS, "\n"),
    ),
    "default@0.2.0": Template(
        user=("Human: {}\nAssistant: ",),
        system=("{}", "\n"),
        default_system=_DEFAULT_SYSTEM,
        start=(BOS,),
        between=("\n", BOS),
        cut="0.2.0",
    ),
    "alpaca@0.9.5": Template(
        user=(_ALPACA_USER,),
        answer=("{}", EOS, "\n\n"),
        default_system=_ALPACA_SYSTEM + "\n\n",
    ),
    "alpaca@0.2.0": Template(
        user=(_ALPACA_USER,),
        system=("{}", "\n\n"),
        default_system=_ALPACA_SYSTEM,
        start=(BOS,),
        between=("\n\n", BOS),
        cut="0.2.0",
    ),
    "llama2@0.9.5": Template(
        user=(BOS, "[INST] {} [/INST]"),
        system=_LLAMA2_SYSTEM_SEGMENT,
        system_in_query=True,
    ),
    "llama2@0.2.0": Template(
        user=("[INST] {} [/INST] ",),
        system=_LLAMA2_SYSTEM_SEGMENT,
        default_system=_LLAMA2_SYSTEM,
        start=(BOS,),
        between=(BOS,),
        system_in_query=True,
        cut="0.2.0",
    ),
    "yuan@0.9.5": Template(user=("{}", Token("<sep>")), answer=("{}<eod>\n",)),
    "yuan@0.5.0": Template(
        user=("{}", Token("<sep>")),
        answer=("{}", Token("<eod>")),
        between=("\n",),
        cut="0.5.0",
    ),
    "baichuan@0.2.0": Template(
        user=(Token("<reserved_102>"), "{}", Token("<reserved_103>")),
        answer=("{}",),
        start=(BOS,),
        between=(BOS,),
        efficient_eos=True,
        cut="0.2.0",
    ),
    "baichuan2@0.2.0": Template(
        user=(Token("<reserved_106>"), "{}", Token("<reserved_107>")),
        answer=("{}",),
        start=(BOS,),
        between=(BOS,),
        efficient_eos=True,
        cut="0.2.0",
    ),
}

Pair = tuple[tuple[Part, ...], tuple[Part, ...]]
"""The parts of one turn: prompt, answer."""


def full_name(name: str) -> str | None:
    """`name@version` for a name with or without its version, the newest without; None for no such template."""
    if name in TEMPLATES:
        return name
    versions = [full for full in TEMPLATES if full.split("@")[0] == name]
    return max(versions, key=lambda full: [int(n) for n in full.split("@")[1].split(".")], default=None)


def segments(template: Template, turns: Sequence[tuple[str, str]], system: str = "") -> list[Pair]:
    """The parts of every turn of a conversation of (query, answer) pairs. `system` empty takes the default."""
    system = system or template.default_system
    pairs: list[Pair] = []
    for number, (query, answer) in enumerate(turns):
        before = template.between if number else template.start
        if number == 0 and system:
            parts = _fill(template.system, system)
            if template.system_in_query:
                query = "".join(part for part in parts if isinstance(part, str)) + query
            else:
                before += parts
        pairs.append((before + _fill(template.user, query), _fill(template.answer, answer)))
    return pairs


def _fill(parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    return tuple(part.replace("{}", text, 1) if isinstance(part, str) else part for part in parts)
