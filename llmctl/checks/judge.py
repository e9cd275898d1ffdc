"""Facts of all nodes to findings. Pure: saved facts can be judged again.

A node is held against `cluster.expect` or a baseline; else against a strict majority of the nodes; else nobody is
called odd. What is not known equals nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.rows import Row, Wanted

LONGEST = 160


def judge(rows: Sequence[Row], facts: Sequence[Fact], expected: Mapping[str, Any], wanted: Wanted) -> list[Finding]:
    """The findings, errors first. `expected`: fact name -> the value that every node must have."""
    by_name: dict[str, dict[str, Fact]] = {}
    for fact in facts:
        by_name.setdefault(fact.name, {})[fact.node] = fact
    found: list[Finding] = []
    for row in rows:
        there = by_name.get(row.name, {})
        found += unknown(row, there)
        values = {node: fact.value for node, fact in there.items() if fact.error is None}
        if row.mode == "eq":
            found += differing(row, values, expected)
        elif row.mode == "ok" and row.judge is not None:
            found += _wrong(row, values, facts, wanted)
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def unknown(row: Row, facts: Mapping[str, Fact]) -> list[Finding]:
    """A finding for the nodes on which a row could not be read."""
    errors = {node: fact.error for node, fact in facts.items() if fact.error is not None}
    if not errors:
        return []
    said = "; ".join(f"{node}: {error}" for node, error in errors.items())
    if row.must:
        code, severity, title = "missing", Severity.ERROR, f"{', '.join(errors)}: {row.must} ({short(said)})"
    else:
        severity = Severity.INFO if row.mode == "told" or row.severity is Severity.INFO else Severity.WARNING
        code, title = "unknown", f"{row.name} is not known on {', '.join(errors)} ({short(said)})"
    return [
        Finding(
            code=f"{row.name}.{code}",
            severity=severity,
            title=title,
            nodes=tuple(errors),
            values=dict(errors),
            remedy=row.remedy if row.must else f"see there: {row.run}" if len(row.run) < LONGEST else "",
        )
    ]


def differing(row: Row, values: Mapping[str, Any], expected: Mapping[str, Any]) -> list[Finding]:
    """A finding when a row's known values are not what they must be."""
    groups: dict[str, list[str]] = {}
    for node, value in values.items():
        groups.setdefault(_text(value), []).append(node)
    severity = row.grade(list(values.values())) if row.grade else row.severity
    if row.name in expected:
        right = _text(expected[row.name])
        odd = [node for node, value in values.items() if _text(value) != right]
        title = f"{row.name} is {_sides(groups, values, right)}, expected is {short(right)}"
        severity = row.severity
    elif len(groups) < 2:
        return []
    else:
        right = max(groups, key=lambda text: len(groups[text]))
        majority = len(groups[right]) * 2 > len(values)
        odd = [node for node, value in values.items() if majority and _text(value) != right]
        title = f"{row.name} differs: {_sides(groups, values, None)}"
    if row.name in expected and not odd:
        return []
    remedy = row.remedy
    if not odd:
        decide = f"what is right is not known: pin it with cluster.expect {{{row.name}: ...}} or --baseline"
        remedy = f"{decide}; {remedy}" if remedy else decide
    return [
        Finding(
            code=f"{row.name}.differs", severity=severity, title=title, nodes=tuple(odd), values=dict(values),
            remedy=remedy,
        )
    ]  # fmt: skip


def _wrong(row: Row, values: Mapping[str, Any], facts: Sequence[Fact], wanted: Wanted) -> list[Finding]:
    found = []
    for node, value in values.items():
        own = {fact.name: fact.value for fact in facts if fact.node == node}
        complaint = (
            row.judge(value, node, Wanted(slots=wanted.slots, disk=wanted.disk, facts=own)) if row.judge else None
        )
        if complaint is not None:
            found.append(
                Finding(
                    code=f"{row.name}.wrong", severity=complaint[0], title=f"{node}: {complaint[1]}", nodes=(node,),
                    values={node: value}, remedy=row.remedy,
                )
            )  # fmt: skip
    return found


def _sides(groups: Mapping[str, list[str]], values: Mapping[str, Any], right: str | None) -> str:
    shown = {text: nodes for text, nodes in groups.items() if text != right}
    whole = [values[nodes[0]] for nodes in groups.values()]
    if all(isinstance(value, dict) for value in whole) and len(whole) > 1:
        keys = sorted({key for value in whole for key in value if any(o.get(key) != value.get(key) for o in whole)})
        shown = {
            ", ".join(f"{key} {values[nodes[0]].get(key, 'none')}" for key in keys[:5])
            + (", ..." if keys[5:] else ""): nodes
            for nodes in shown.values()
        }
    return ", ".join(f"{short(text)} on {' '.join(nodes)}" for text, nodes in shown.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def short(text: str) -> str:
    """At most LONGEST characters."""
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


EXPECT_NAMES = {"cann": "toolkit.version", "cuda": "toolkit.version", "driver": "driver.version",
                "firmware": "firmware.version", "python": "python.version"}  # fmt: skip
"""Short names in `cluster.expect`; anything else is a fact's name or a package's."""


def expectation(pins: Mapping[str, str], baseline: Sequence[Fact], known: Sequence[str]) -> dict[str, Any]:
    """What every node must have: the pins, else what all nodes of a baseline had in common. Raises ValueError for a
    pin that names no fact."""
    common: dict[str, list[Any]] = {}
    for fact in baseline:
        common.setdefault(fact.name, []).append(fact.value if fact.error is None else None)
    expected = {name: values[0] for name, values in common.items() if values[0] is not None and _all_same(values)}
    for name, value in pins.items():
        full = EXPECT_NAMES.get(name, name)
        if full not in known:
            full = "package." + name.replace("_", "-").lower()
        if full not in known:
            raise ValueError(name)
        expected[full] = value
    return expected


def _all_same(values: Sequence[Any]) -> bool:
    return all(_text(value) == _text(values[0]) for value in values)
