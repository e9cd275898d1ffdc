"""Facts in a file: a baseline for later checks, or to be judged again without the nodes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmctl.checks.facts import Fact
from llmctl.checks.question import Question, from_values
from llmctl.errors import LlmctlError, NodeError, UsageError
from llmctl.quoting import sh_quote
from llmctl.recipe.hosts import Node
from llmctl.run.folder import write_json

SCHEMA = 1
MAKE_ONE = "llmctl check NODES --save FILE makes one"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What was asked and what was read; `errors` are the nodes that were not, `interrupted` says that not all was
    asked."""

    question: Question
    nodes: tuple[Node, ...]
    facts: tuple[Fact, ...]
    errors: Mapping[str, LlmctlError] = field(default_factory=dict)
    interrupted: bool = False


def save_facts(
    path: Path,
    question: Question,
    nodes: Sequence[Node],
    facts: Sequence[Fact],
    errors: Mapping[str, LlmctlError] | None = None,
    *,
    interrupted: bool = False,
) -> None:
    """Write what was asked, what was read and what was not, readable by its owner alone.

    Raises UsageError when it cannot be written, NodeError when no node was read: then a file that is there stays."""
    if not any(fact.error is None for fact in facts):
        kept = ", the file stays as it was" if path.exists() else ""
        raise NodeError(f"nothing is saved{kept}", where=str(path), why="no node was read")
    assert_folder(path)
    try:
        write_json(
            path,
            {
                "schema": SCHEMA,
                "saved": time.time(),
                "question": asdict(question),
                "nodes": [{"name": node.name, "address": node.address} for node in nodes],
                "facts": [asdict(fact) for fact in facts],
                "errors": {node: _told(error) for node, error in (errors or {}).items()},
                "interrupted": interrupted,
            },
        )
    except OSError as error:
        raise UsageError("the facts cannot be saved", where=str(path), why=error.strerror or str(error)) from None


def assert_folder(path: Path) -> None:
    """Raise UsageError where there is no folder for the file."""
    if not path.parent.is_dir():
        why, hint = f"there is no folder {path.parent}", f"mkdir -p {sh_quote(str(path.parent))}"
        raise UsageError("the facts cannot be saved", where=str(path), why=why, hint=hint)


def load_saved(path: Path) -> Saved:
    """What `save_facts` wrote. Raises UsageError for a file that is none of it."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(saved, dict) or "schema" not in saved:
            raise UsageError("no saved facts", where=str(path), why="it names no schema", hint=MAKE_ONE)
        if saved["schema"] != SCHEMA:
            raise UsageError(f"has schema {saved['schema']}, this llmctl reads {SCHEMA}", where=str(path))
        facts = tuple(Fact(**fact) for fact in saved["facts"])
        named = saved.get("nodes") or [{"name": name} for name in dict.fromkeys(fact.node for fact in facts)]
        nodes = tuple(Node(**node) for node in named)
        errors = {name: NodeError(**told) for name, told in saved.get("errors", {}).items()}
        read = {fact.node for fact in facts}
        for node in nodes:
            if node.name not in read:
                errors.setdefault(node.name, NodeError("was not read when these facts were saved", where=node.name))
        return Saved(
            question=from_values(saved.get("question") or {}), nodes=nodes, facts=facts, errors=errors,
            interrupted=bool(saved.get("interrupted")),
        )  # fmt: skip
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("no saved facts", where=str(path), why=why, hint=MAKE_ONE) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError("no saved facts", where=str(path), why=why, hint=MAKE_ONE) from None


def load_baseline(path: Path) -> tuple[Fact, ...]:
    """The facts that others are held against. Raises UsageError where there are none."""
    saved = load_saved(path)
    if not any(fact.error is None for fact in saved.facts):
        raise UsageError(
            "is no baseline: no fact is known in it", where=str(path), why="no node was read when it was saved",
            hint=f"llmctl check GOODNODE --save {path}",
        )  # fmt: skip
    return saved.facts


def _told(error: LlmctlError) -> dict[str, Any]:
    return {"what": error.what, "where": error.where, "why": error.why, "hint": error.hint}
