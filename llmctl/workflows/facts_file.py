"""Facts in a file: a baseline for later checks, or to be judged again without the nodes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from llmctl.checks.facts import Fact
from llmctl.checks.question import Question, from_values
from llmctl.errors import UsageError
from llmctl.recipe.hosts import Node
from llmctl.run.folder import write_json

SCHEMA = 1


def save_facts(path: Path, question: Question, nodes: Sequence[Node], facts: Sequence[Fact]) -> None:
    """Write what was asked and what was read, readable by its owner alone. Raises UsageError when it cannot be
    written."""
    try:
        write_json(
            path,
            {
                "schema": SCHEMA,
                "saved": time.time(),
                "question": asdict(question),
                "nodes": [{"name": node.name, "address": node.address} for node in nodes],
                "facts": [asdict(fact) for fact in facts],
            },
        )
    except OSError as error:
        raise UsageError("the facts cannot be saved", where=str(path), why=error.strerror or str(error)) from None


def load_saved(path: Path) -> tuple[Question, tuple[Node, ...], tuple[Fact, ...]]:
    """What `save_facts` wrote. Raises UsageError for a file that is none of it."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["schema"] != SCHEMA:
            raise UsageError(f"has schema {saved['schema']}, this llmctl reads {SCHEMA}", where=str(path))
        facts = tuple(Fact(**fact) for fact in saved["facts"])
        nodes = saved.get("nodes") or [{"name": name} for name in dict.fromkeys(fact.node for fact in facts)]
        return from_values(saved.get("question") or {}), tuple(Node(**node) for node in nodes), facts
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "no saved facts", where=str(path), why=str(error), hint="llmctl check NODES --save FILE makes one"
        ) from None
