"""Facts of all nodes to findings. Pure: saved facts can be judged again.

A node is held against `cluster.expect` or a baseline; else against a strict majority of the nodes; else nobody is
called odd. What is not known equals nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmctl.checks.facts import Fact, Finding, Severity
from llmctl.checks.folding import fold
from llmctl.checks.rows import Complaint, Row, Rule, Wanted

LONGEST = 160


def judge(
    rows: Sequence[Row],
    facts: Sequence[Fact],
    expected: Mapping[str, Any],
    wanted: Wanted,
    rules: Sequence[tuple[Rule, Sequence[str]]] = (),
    nodes: int = 0,
    pins: Container[str] = (),
) -> list[Finding]:
    """The findings, errors first. `expected`: fact name -> the value that every node must have, by `pins` of the recipe
    or by the baseline; `rules`: each with the nodes that it is for; `nodes`: how many there are, those of which nothing
    was read included."""
    by_name: dict[str, dict[str, Fact]] = {}
    own: dict[str, dict[str, Any]] = {}
    for fact in facts:
        by_name.setdefault(fact.name, {})[fact.node] = fact
        if fact.error is None:
            own.setdefault(fact.node, {})[fact.name] = fact.value
    needs = {node: replace(wanted, facts=values) for node, values in own.items()}
    found: list[Finding] = []
    # What one failing command would tell many times is told once, by the row that must have it.
    told = {
        (row.run, fact.node) for row in rows if row.must for fact in by_name.get(row.name, {}).values() if fact.error
    }
    for row in rows:
        there = by_name.get(row.name, {})
        if not row.must:
            there = {node: fact for node, fact in there.items() if not (fact.error and (row.run, node) in told)}
        values = {node: fact.value for node, fact in there.items() if fact.error is None}
        pinned = row.mode == "eq" and row.name in expected
        found += unknown(row, there, blocks=pinned or (row.needed and bool(wanted.slots)))
        if pinned:
            found += unexpected(row, values, expected[row.name], pin=row.name in pins)
        elif row.mode == "eq":
            found += differing(row, values, max(nodes, len(by_name.get(row.name, {}))))
        elif row.mode == "distinct":
            found += repeated(row, values)
        if row.judge is not None:
            complaints = {node: row.judge(value, node, needs[node]) for node, value in values.items()}
            found += _wrong(row, complaints, values)
    for rule, concerned in rules:
        complaints = {node: rule.judge(needs[node], node) for node in concerned if node in needs}
        found += _wrong(rule, complaints, {})
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def unknown(row: Row, facts: Mapping[str, Fact], *, blocks: bool = False) -> list[Finding]:
    """A finding for the nodes on which a row could not be read; `blocks`: it has the row's own severity."""
    errors = {node: fact.error for node, fact in facts.items() if fact.error is not None}
    if not errors:
        return []
    reasons: dict[str, list[str]] = {}
    for node, error in errors.items():
        reasons.setdefault(error, []).append(node)
    whole = len(reasons) == 1
    said = "; ".join(error if whole else f"{fold(nodes)}: {error}" for error, nodes in reasons.items())
    if row.must:
        code, severity, title = "missing", Severity.ERROR, f"{fold(list(errors))}: {row.must} ({short(said)})"
    else:
        minor = row.mode == "told" or row.optional or row.severity is Severity.INFO
        severity = row.severity if blocks else Severity.INFO if minor else Severity.WARNING
        code, title = "unknown", f"{row.name} is not known on {fold(list(errors))}: {short(said)}"
    return [
        Finding(
            code=f"{row.name}.{code}",
            severity=severity,
            title=title,
            nodes=tuple(errors),
            values=dict(errors),
            remedy=row.remedy if row.must or blocks else f"see there: {row.run}" if len(row.run) < LONGEST else "",
        )
    ]


def unexpected(row: Row, values: Mapping[str, Any], right: Any, *, pin: bool = False) -> list[Finding]:
    """A finding when a row's known values are not the expected one, of a pin or else of the baseline."""
    odd = {node: value for node, value in values.items() if _text(value) != _text(right)}
    if not odd:
        return []
    want = f", expected is {short(_text(right))}" if not isinstance(right, dict) else ", which is not expected"
    return [
        Finding(
            code=f"{row.name}.differs", severity=row.grade([*odd.values(), right]) if row.grade else row.severity,
            title=f"{row.name} is {_sides(odd, [right])}{want}",
            nodes=tuple(odd), values=dict(values), remedy=_to_expected(odd, right, pin=pin),
        )
    ]  # fmt: skip


def _to_expected(odd: Mapping[str, Any], right: Any, *, pin: bool) -> str:
    """What to do about nodes that are equal perhaps, but not what is expected."""
    have = {_text(value) for value in odd.values()}
    if pin and len(have) == 1 and (whole := min(have)).startswith(f"{right}."):
        return f"a pin is the whole value: if {whole} is right, write that into cluster.expect"
    wanted = "what the baseline has" if isinstance(right, (dict, list)) else short(_text(right))
    source = "correct cluster.expect" if pin else "save a new baseline: llmctl check GOODNODE --save FILE"
    return f"bring {fold(list(odd))} to {wanted}, or, if that is wrong, {source}"


def differing(row: Row, values: Mapping[str, Any], nodes: int) -> list[Finding]:
    """A finding when a row's known values are not all the same. A value that more than half of all `nodes` have is
    right, the other nodes are odd; without such a value nobody is."""
    shares = Counter(_text(value) for value in values.values())
    if len(shares) < 2:
        return []
    right, count = shares.most_common(1)[0]
    majority = count * 2 > nodes
    odd = {node: value for node, value in values.items() if majority and _text(value) != right}
    if majority:
        most = [value for value in values.values() if _text(value) == right][:1]
        title = f"{row.name} differs: {_sides(odd, most)}; {_side(most[0], list(odd.values()))} on the other {count}"
        remedy = row.remedy
    else:
        title = f"{row.name} differs: {_sides(values, [])}"
        pin = (
            ""
            if isinstance(next(iter(values.values())), dict)
            else f"pin it with cluster.expect {{{row.name}: ...}} or "
        )
        decide = f"what is right is not known: {pin}--baseline FILE"
        remedy = f"{decide}; {row.remedy}" if row.remedy else decide
    severity = row.grade(list(values.values())) if row.grade else row.severity
    return [
        Finding(
            code=f"{row.name}.differs", severity=severity, title=title, nodes=tuple(odd), values=dict(values),
            remedy=remedy,
        )
    ]  # fmt: skip


def repeated(row: Row, values: Mapping[str, Sequence[Any]]) -> list[Finding]:
    """A finding when an entry stands in the lists of two nodes, or twice in one."""
    holders: dict[Any, list[str]] = {}
    for node, entries in values.items():
        for entry in entries:
            holders.setdefault(entry, []).append(node)
    twice = {entry: nodes for entry, nodes in holders.items() if len(nodes) > 1}
    if not twice:
        return []
    told = ", ".join(f"{entry} on {' and '.join(nodes)}" for entry, nodes in list(twice.items())[:4])
    return [
        Finding(
            code=f"{row.name}.twice", severity=row.severity, title=short(f"{row.name}: {told}"),
            nodes=tuple(dict.fromkeys(node for nodes in twice.values() for node in nodes)), values=dict(values),
            remedy=row.remedy,
        )
    ]  # fmt: skip


def _wrong(row: Row | Rule, complaints: Mapping[str, Complaint], values: Mapping[str, Any]) -> list[Finding]:
    """A finding for each different complaint, with the nodes that share it."""
    groups: dict[tuple[Severity, str], list[str]] = {}
    for node, complaint in complaints.items():
        if complaint is not None:
            groups.setdefault(complaint, []).append(node)
    return [
        Finding(
            code=f"{row.name}.wrong", severity=severity, title=f"{fold(nodes)}: {said}", nodes=tuple(nodes),
            values={node: values[node] for node in nodes if node in values}, remedy=row.remedy,
        )
        for (severity, said), nodes in groups.items()
    ]  # fmt: skip


def _sides(values: Mapping[str, Any], against: Sequence[Any]) -> str:
    """`VALUE on NODES, VALUE on NODES`; of tables only what differs, also from `against`."""
    groups: dict[str, list[str]] = {}
    for node, value in values.items():
        groups.setdefault(_text(value), []).append(node)
    others = [*values.values(), *against]
    return ", ".join(f"{_side(values[nodes[0]], others)} on {fold(nodes)}" for nodes in groups.values())


def _side(value: Any, others: Sequence[Any]) -> str:
    if not isinstance(value, dict):
        return short(_text(value))
    tables = [other for other in others if isinstance(other, dict)]
    keys = sorted(
        {key for table in [*tables, value] for key in table if any(t.get(key) != value.get(key) for t in tables)}
    )
    return short(
        ", ".join(f"{key} {_brief(value.get(key, 'none'))}" for key in keys[:5]) + (", ..." if keys[5:] else "")
    )


def _brief(value: Any) -> Any:
    """A digest is told apart by its first letters."""
    return value[:12] if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def short(text: str) -> str:
    """At most LONGEST characters."""
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


EXPECT_NAMES = {"cann": "toolkit.version", "cuda": "toolkit.version", "driver": "driver.version",
                "firmware": "firmware.version", "python": "python.version"}  # fmt: skip
"""Short names in `cluster.expect`; anything else is a fact's name or a package's."""


class UnknownPin(ValueError):
    """A pin names no fact."""


def expectation(pins: Mapping[str, str], baseline: Sequence[Fact], known: Sequence[str]) -> dict[str, Any]:
    """What every node must have: the pins, else what all nodes of a baseline had in common. Raises UnknownPin for a
    pin that names no fact."""
    common: dict[str, list[Any]] = {}
    for fact in baseline:
        common.setdefault(fact.name, []).append(fact.value if fact.error is None else None)
    expected = {name: values[0] for name, values in common.items() if values[0] is not None and _all_same(values)}
    for name, value in pins.items():
        full = pinned_fact(name, known)
        if full is None:
            raise UnknownPin(name)
        expected[full] = value
    return expected


def pinned_fact(pin: str, known: Sequence[str]) -> str | None:
    """The fact that a pin names: by its short name, its own, or a package's; None where `known` has none."""
    names = EXPECT_NAMES.get(pin, pin), "package." + pin.replace("_", "-").lower()
    return next((name for name in names if name in known), None)


def _all_same(values: Sequence[Any]) -> bool:
    return all(_text(value) == _text(values[0]) for value in values)
