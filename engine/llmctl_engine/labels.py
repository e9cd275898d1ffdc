"""Token ids and labels of a sample, with each release's rule for what is cut. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

IGNORED = -100
"""The label of a position that carries no loss, as in transformers."""

Ids = list[int]


@dataclass(frozen=True)
class Room:
    """How much of a turn can stay: `left` tokens of the sample's `cutoff_len`."""

    left: int
    cutoff_len: int


def build(turns: Sequence[tuple[Ids, Ids]], *, cut: str, cutoff_len: int, end: int | None = None) -> tuple[Ids, Ids]:
    """Join the turns' (prompt, answer) ids to `input_ids` and `labels`, both of at most `cutoff_len` tokens. All
    answers carry labels. `end` is the id that efficient-EOS templates put after the sample."""
    input_ids: Ids = []
    labels: Ids = []
    room_for_end = end is not None and cut != "0.2.0"  # v0.2.0 cuts after the end was put there
    budget = cutoff_len - room_for_end
    for number, (prompt, answer) in enumerate(turns):
        left = budget - len(input_ids)
        if left <= 0:
            break
        prompt_len, answer_len = CUTS[cut](len(prompt), len(answer), Room(left, cutoff_len))
        prompt, answer = prompt[:prompt_len], answer[:answer_len]
        masked = [IGNORED] * len(prompt)
        if end is not None and number and masked:
            masked[0] = end
        input_ids += prompt + answer
        labels += masked + answer
    if end is not None:
        input_ids, labels = [*input_ids, end], [*labels, end]
    return input_ids[:cutoff_len], labels[:cutoff_len]


def _shares_of_all(prompt: int, answer: int, room: Room) -> tuple[int, int]:
    """v0.2.0: every turn is cut to its shares of the whole cutoff, whatever came before it."""
    total = max(prompt + answer, 1)
    return min(prompt, int(room.cutoff_len * (prompt / total))), min(answer, int(room.cutoff_len * (answer / total)))


def _shares_of_rest(prompt: int, answer: int, room: Room) -> tuple[int, int]:
    """v0.5.0 (`infer_max_len`): shares of what is left, at least 16 tokens kept for the answer."""
    for_answer = max(int(room.left * (answer / max(prompt + answer, 1))), 16)
    return min(prompt, max(room.left - for_answer, 0)), min(answer, for_answer)


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


CUTS: dict[str, Callable[[int, int, Room], tuple[int, int]]] = {
    "0.2.0": _shares_of_all,
    "0.5.0": _shares_of_rest,
    "0.9.5": _shorter_side_kept,
}
"""Release -> rule: (prompt length, answer length, room) -> lengths kept."""
