"""The names in `cluster.expect`: which fact each pins, and why one pins nothing. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmctl.checks.judge import EXPECT_NAMES, pinned_fact
from llmctl.checks.question import Question
from llmctl.checks.vendors import VENDORS

PACKAGE = "package."


def wrong_pins(question: Question) -> dict[str, tuple[str, str]]:
    """Pin -> what is wrong with it, and what to write instead; empty when each names a fact that is compared."""
    known = question.names()
    return {pin: _why(question, pin, known) for pin in question.expect if pinned_fact(pin, known) is None}


def _why(question: Question, pin: str, known: Sequence[str]) -> tuple[str, str]:
    every = _every_fact(question)
    full = pinned_fact(pin, list(every)) or pin
    here = [short for short, name in EXPECT_NAMES.items() if name in known]
    can = f"here can be pinned: {', '.join(here)}, a package, or a fact that is compared (docs/findings.md)"
    devices = every.get(full)
    if devices is None:
        words = [*here, *known, *(name.removeprefix(PACKAGE) for name in known if name.startswith(PACKAGE))]
        near = difflib.get_close_matches(pin.replace("_", "-"), words, n=1)
        return "no fact has this name", f"did you mean {near[0]}?" if near else can
    if devices and question.device not in devices:
        return f"{full} is read on {' and '.join(devices)} nodes alone, cluster.device is {question.device}", can
    return f"{full} is not compared between nodes, so it cannot be pinned", can


def _every_fact(question: Question) -> Mapping[str, tuple[str, ...]]:
    """Fact -> the devices that it is read with; empty for those of every node."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, rows in replace(question, only=(), device=None).rows.items():
        for row in rows:
            found[row.name] = (*found.get(row.name, ()), *([kind] if kind in VENDORS else []))
    return found
