"""How much of what was asked was really compared, so that nobody is told that nodes agree on nothing. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from llmctl.checks.facts import Fact
from llmctl.checks.pair_codes import CODES
from llmctl.checks.question import ALWAYS, Question


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Names of facts."""

    known: frozenset[str] = frozenset()
    """Asked for, and read on one node at least."""
    compared: frozenset[str] = frozenset()
    """Of these what was held against another node, a pin or a baseline."""
    judged: frozenset[str] = frozenset()
    """Of these what was judged on each node by itself."""


def coverage(question: Question, facts: Sequence[Fact], expected: Container[str]) -> Coverage:
    """What these facts allow to say. `expected`: the facts that have a pin, or a value in the baseline."""
    holders: dict[str, int] = {}
    for fact in facts:
        if fact.error is None and (question.asks(fact.name) or fact.name not in ALWAYS):
            holders[fact.name] = holders.get(fact.name, 0) + 1
    compared, judged = set(), set()
    for row in {row.name: row for rows in question.applying(facts).values() for row in rows}.values():
        count = holders.get(row.name, 0)
        if count and row.mode in ("eq", "distinct") and (count > 1 or row.name in expected):
            compared.add(row.name)
        if count and row.judge is not None:
            judged.add(row.name)
    for code, pair in CODES.items():
        if question.tells(code):
            compared |= {name for name in pair.facts if holders.get(name, 0) > 1}
            judged |= {name for name in pair.facts if name in holders}
    return Coverage(known=frozenset(holders), compared=frozenset(compared), judged=frozenset(judged))
