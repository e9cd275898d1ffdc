"""What a chat template is: tuples of texts and special tokens. Standard library only."""

from __future__ import annotations

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
    """How a conversation becomes segments. `{}` stands for the text of the segment, `{n}` for the number of the turn
    from 0."""

    user: tuple[Part, ...] = ("{}",)
    answer: tuple[Part, ...] = ("{}", EOS)
    system: tuple[Part, ...] = ("{}",)
    observation: tuple[Part, ...] | None = None
    """Around what a tool gave back; None writes it as a user's text."""
    function: tuple[Part, ...] | None = None
    """Around the calls of functions; None writes them as an answer."""
    tools: str | None = None
    """How tools and calls are written, see `tools.FORMATS`; None for releases that knew no tools."""
    default_system: str = ""
    force_system: bool = False
    """The system segment is written also where there is no system text."""
    system_in_query: bool = False
    """The system text is written before the first query, inside the user segment (Llama 2)."""
    start: tuple[Part, ...] = ()
    """Before the first turn."""
    between: tuple[Part, ...] = ()
    """Before each later turn."""
    history: bool = True
    """False keeps the last turn only."""
    efficient_eos: bool = False
    """Answers carry no EOS; one ends the sample, and the first label of each later turn is EOS."""
    replace_eos: bool = False
    """The first stop word takes the place of the tokenizer's EOS."""
    stop: tuple[str, ...] = ()
    """Special tokens at which an answer also ends."""
    tokens: tuple[str, ...] = ()
    """Further special tokens that are written inside of texts."""
    bos_as_tokenizer: bool = False
    """BOS is left out where the tokenizer's `add_bos_token` is false."""
    cutoff_rule: str = "lf09"
    """The rule that cuts samples which are longer than `cutoff_len`, see `labels.RULES`."""

    def segments(self) -> tuple[Part, ...]:
        """Every part that this template may write."""
        function = self.function if self.function is not None else ()
        observation = self.observation if self.observation is not None else ()
        return (
            *self.start, *self.system, *self.user, *self.answer, *function, *observation, *self.between
        )  # fmt: skip

    def special_tokens(self) -> tuple[str, ...]:
        """The special tokens that the tokenizer must have, without BOS and EOS, in the order of their first use."""
        named = (*self.tokens, *self.stop)
        found: list[str] = [self.stop[0]] if self.replace_eos else []
        for part in self.segments():
            if isinstance(part, str):
                inside = [token for token in named if token in part]
                found += sorted(inside, key=part.index)
            elif part not in (BOS, EOS):
                found.append(part.name)
        return tuple(dict.fromkeys(found))
