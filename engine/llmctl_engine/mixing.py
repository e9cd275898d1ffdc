"""The order of the rows of several datasets. The same as `datasets.concatenate_datasets` and `interleave_datasets`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MIXES = ("concat", "interleave_under", "interleave_over")
"""One after the other; in turns until the first dataset is at its end; until the last one is, which repeats rows."""


def order(
    lengths: Sequence[int], *, mix: str, probabilities: Sequence[float] = (), seed: int = 42
) -> Iterator[tuple[int, int]]:
    """(dataset, row), both from 0, for datasets of these lengths. With `probabilities` the next dataset is drawn, else
    they take turns.

    Raises ValueError for a dataset that has no rows, and for one whose end would never be reached."""
    if mix == "concat" or len(lengths) < 2:
        return ((number, row) for number, length in enumerate(lengths) for row in range(length))
    over = mix == "interleave_over"
    if not all(lengths):
        raise ValueError("a dataset without rows cannot be interleaved")
    if probabilities:
        if over and not all(probability > 0 for probability in probabilities):
            raise ValueError(
                "interleave_over ends with the last row of every dataset, and one with probability 0 gives none: "
                "leave it out, or give it more"
            )
        return _drawn(lengths, probabilities, seed, over=over)
    rounds = max(lengths) if over else min(lengths)
    return ((number, turn % length) for turn in range(rounds) for number, length in enumerate(lengths))


def _drawn(
    lengths: Sequence[int], probabilities: Sequence[float], seed: int, *, over: bool
) -> Iterator[tuple[int, int]]:
    import numpy

    generator = numpy.random.default_rng(seed)
    next_row = [0] * len(lengths)
    ended = [False] * len(lengths)
    while True:
        for number in map(int, generator.choice(len(lengths), size=1000, p=probabilities)):
            if all(ended) if over else any(ended):
                return
            yield number, next_row[number]
            next_row[number] += 1
            if next_row[number] == lengths[number]:
                ended[number], next_row[number] = True, 0
