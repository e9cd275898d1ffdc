"""Which nodes count as lost. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

LOST_AFTER = 30.0
"""Seconds without an answer after which a node counts as lost."""
LONGEST_ROUND = 20.0
"""Seconds for which one round counts at most: what is longer was a sleep of this machine."""


@dataclass
class Silence:
    """How long each node has been asked in vain. A round in which nobody answers counts for nothing: then it is this
    machine that is away. A step takes every node, so one that was made shows that their ranks live."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Node -> how long; those that answer are not in it."""
    alone: bool = False
    """Nobody answered in the last round."""
    deserted: float = 0.0
    """Seconds for which all were asked and nobody has answered since; sleep of this machine does not count."""

    def round(self, asked: Collection[str], answered: Collection[str], took: float, *, stepped: bool) -> None:
        """Take in a round that took so many seconds. `stepped`: a step was told of."""
        self.alone = not answered
        self.deserted = self.deserted + min(took, LONGEST_ROUND) if self.alone else 0.0
        for node in asked:
            if node in answered:
                self.seconds.pop(node, None)
            elif stepped:
                self.seconds[node] = 0.0
            elif not self.alone:
                self.seconds[node] = self.seconds.get(node, 0.0) + min(took, LONGEST_ROUND)

    @property
    def lost(self) -> tuple[str, ...]:
        """The nodes that are lost by now."""
        return tuple(node for node, seconds in self.seconds.items() if seconds > LOST_AFTER)
