"""Token ids and labels of a sample: what carries loss, and what is cut. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

IGNORED = -100
"""The label of a position that carries no loss, as in transformers."""

Ids = list[int]
Turns = Sequence[tuple[Ids, Ids]]
"""The (prompt, answer) ids of every turn."""


@dataclass(frozen=True)
class Room:
    """How much of a turn can stay: `left` tokens of the sample's `cutoff_len`."""

    left: int
    cutoff_len: int


@dataclass(frozen=True)
class Built:
    """One training sample, ids and labels of the same length, and how many tokens of it were cut away."""

    ids: Ids
    labels: Ids
    cut: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How samples are built."""

    cutoff_rule: str
    """One of `RULES`."""
    cutoff_len: int
    loss_on: str = "answers"
    """One of `LOSS_ON`."""
    end: int | None = None
    """The id that efficient-EOS templates put after the sample."""


def build(turns: Turns, rule: Rule) -> list[Built]:
    """The samples of a conversation, each of at most `cutoff_len` tokens; one, but for `loss_on` split."""
    return LOSS_ON[rule.loss_on](turns, rule)


def build_pair(turns: Turns, rejected: Ids, rule: Rule) -> tuple[Built, Built]:
    """The better and the worse sample of a preference pair, whose last turn's answer is the better one. Both keep the
    same prompt, cut for the longer answer; only the answers to the last query carry labels. As LLaMA-Factory 0.9.5."""
    ending = [] if rule.end is None else [rule.end]
    prompt = [i for asked, answer in turns[:-1] for i in asked + answer] + turns[-1][0]
    answers = [turns[-1][1] + ending, rejected + ending]
    room = Room(rule.cutoff_len, rule.cutoff_len)
    kept, longest = RULES[rule.cutoff_rule](len(prompt), max(map(len, answers)), room)
    chosen, worse = (
        Built(
            (prompt[:kept] + answer[:longest])[: rule.cutoff_len],
            ([IGNORED] * kept + answer[:longest])[: rule.cutoff_len],
            len(prompt) - kept + max(len(answer) - longest, 0),
        )
        for answer in answers
    )
    return chosen, worse


def _all_answers(turns: Turns, rule: Rule) -> list[Built]:
    """Every answer carries labels; the first turns stay when there is not room for all."""
    return [_forward(turns, rule, prompts=False)]


def _prompts_too(turns: Turns, rule: Rule) -> list[Built]:
    """Everything carries labels."""
    return [_forward(turns, rule, prompts=True)]


def _last_answer(turns: Turns, rule: Rule) -> list[Built]:
    """Only the last answer carries labels; the last turns stay when there is not room for all, as `mask_history` of
    LLaMA-Factory 0.9.5 has it."""
    ids: Ids = []
    labels: Ids = []
    left = rule.cutoff_len - (rule.end is not None)
    for prompt, answer in reversed(turns):
        if left <= 0:
            break
        prompt_len, answer_len = RULES[rule.cutoff_rule](len(prompt), len(answer), Room(left, left))
        kept = prompt[:prompt_len] + answer[:answer_len]
        told = answer[:answer_len] if not ids else [IGNORED] * answer_len
        ids, labels = kept + ids, [IGNORED] * prompt_len + told + labels
        left -= len(kept)
    return [_ended(ids, labels, turns, rule)]


def _split_turns(turns: Turns, rule: Rule) -> list[Built]:
    """A sample for every turn, with what came before it, and labels on its answer."""
    return [built for number in range(len(turns)) for built in _last_answer(turns[: number + 1], rule)]


def _forward(turns: Turns, rule: Rule, *, prompts: bool) -> Built:
    ids: Ids = []
    labels: Ids = []
    # v0.2.0 cuts after the end was put there
    budget = rule.cutoff_len - (rule.end is not None and rule.cutoff_rule != "lf02")
    for number, (prompt, answer) in enumerate(turns):
        left = budget - len(ids)
        if left <= 0:
            break
        prompt_len, answer_len = RULES[rule.cutoff_rule](len(prompt), len(answer), Room(left, rule.cutoff_len))
        prompt, answer = prompt[:prompt_len], answer[:answer_len]
        masked = list(prompt) if prompts else [IGNORED] * len(prompt)
        if rule.end is not None and number and masked and not prompts:
            masked[0] = rule.end
        ids += prompt + answer
        labels += masked + answer
    return _ended(ids, labels, turns, rule)


def _ended(ids: Ids, labels: Ids, turns: Turns, rule: Rule) -> Built:
    if rule.end is not None:
        ids, labels = [*ids, rule.end], [*labels, rule.end]
    ids, labels = ids[: rule.cutoff_len], labels[: rule.cutoff_len]
    whole = sum(len(prompt) + len(answer) for prompt, answer in turns) + (rule.end is not None)
    return Built(ids, labels, whole - len(ids))


def _shares_of_all(prompt: int, answer: int, room: Room) -> tuple[int, int]:
    """v0.2.0: every turn is cut to its shares of the whole cutoff, whatever came before it."""
    total = max(prompt + answer, 1)
    return min(prompt, int(room.cutoff_len * (prompt / total))), min(answer, int(room.cutoff_len * (answer / total)))


def _shares_of_rest(at_least: int) -> Callable[[int, int, Room], tuple[int, int]]:
    """v0.5.0 and v0.6.0 (`infer_max_len`): shares of what is left, some tokens kept for the answer at least."""

    def kept(prompt: int, answer: int, room: Room) -> tuple[int, int]:
        for_answer = max(int(room.left * (answer / max(prompt + answer, 1))), at_least)
        return min(prompt, max(room.left - for_answer, 0)), min(answer, for_answer)

    return kept


def _shorter_side_kept(prompt: int, answer: int, room: Room) -> tuple[int, int]:
    """v0.9.5 (`infer_seqlen`): a side shorter than half of what is left stays whole; else both by their shares."""
    if answer * 2 < room.left:
        for_answer = room.left
    elif prompt * 2 < room.left:
        for_answer = room.left - prompt
    else:
        for_answer = int(room.left * (answer / (prompt + answer)))
    kept = min(answer, for_answer)
    return min(prompt, max(room.left - kept, 0)), kept


RULES: dict[str, Callable[[int, int, Room], tuple[int, int]]] = {
    "lf02": _shares_of_all,
    "lf05": _shares_of_rest(16),
    "lf06": _shares_of_rest(1),
    "lf09": _shorter_side_kept,
}
"""LLaMA-Factory from 0.2.0, 0.5.0, 0.6.0 and 0.9.0 on -> (prompt length, answer length, room) -> lengths kept."""

LOSS_ON: dict[str, Callable[[Turns, Rule], list[Built]]] = {
    "answers": _all_answers,
    "last": _last_answer,
    "split": _split_turns,
    "all": _prompts_too,
}
"""What carries loss -> the samples of a conversation."""
