"""Every finding that a check can tell, as a page of the documentation (docs/findings.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmctl.checks import environment, python_env
from llmctl.checks.container import container_rows
from llmctl.checks.environment import environment_rows
from llmctl.checks.facts import Severity
from llmctl.checks.host import host_rows
from llmctl.checks.pair_codes import CODES
from llmctl.checks.paths import KEYS, config_rows, path_rows
from llmctl.checks.python_env import python_rows
from llmctl.checks.question import KINDS
from llmctl.checks.rows import Row, Rule
from llmctl.checks.vendors import VENDORS

HEAD = """\
# Findings

Every finding of `llmctl check`, and of the check before `llmctl run`, by its code. This page is made from the rows that
are checked: `make docs`. How a node is held to what is right, and who is called odd: [checks](checks.md).

`NAME.differs`: nodes disagree, or are not what is expected. `NAME.wrong`: a node is not right by itself.
`NAME.missing`: what the run must have cannot be read. `NAME.twice`: an entry stands twice. `NAME.unknown` is there for
every name: it could not be read; a warning, a remark where the fact is only told, an error where it is pinned or, with
a recipe, for what is marked *needed*. The severity is the worst that a finding of that name has. Errors stop
`llmctl run`, unless `--allow-drift CODE` names them.
"""
COLUMNS = "| code | severity | read from | what goes wrong | what to do |\n|---|---|---|---|---|\n"


def groups() -> dict[str, list[Row | Rule]]:
    """All rows and rules by the heading that they stand under."""
    found: dict[str, list[Row | Rule]] = {
        "Every node": [KINDS, *host_rows("/w", pdsh=True)],
        "Environment of the ranks": [*environment_rows({}), environment.SLIPS],
        "Python": [*python_rows("python3", engine=True), *python_env.RULES],
        "What must lie on the nodes": [
            *path_rows({kind: ["PATH"] for kind in KEYS}),
            *config_rows({"model": ["PATH"]}),
        ],
    }
    found["Containers"] = [*container_rows({"runtime": "docker", "image": "IMAGE"})]
    vendors = [vendor for vendor in VENDORS.values() if vendor.rows]
    return found | {f"{vendor.title} (`{vendor.name}`)": [*vendor.rows, *vendor.rules] for vendor in vendors}


def codes(row: Row | Rule) -> list[str]:
    """The codes of a row besides `NAME.unknown`."""
    if isinstance(row, Rule):
        return [f"{row.name}.wrong"]
    found = {"eq": ["differs"], "distinct": ["twice"]}.get(row.mode, [])[:]
    found += [end for end, there in (("wrong", row.judge), ("missing", row.must)) if there]
    return [f"{row.name}.{end}" for end in found]


def known_codes() -> tuple[str, ...]:
    """Every code that a finding can have."""
    rows = [row for group in groups().values() for row in group]
    unknown = [f"{row.name}.unknown" for row in rows if isinstance(row, Row)]
    return tuple(dict.fromkeys([*(code for row in rows for code in codes(row)), *CODES, *unknown]))


def page() -> str:
    """The text of docs/findings.md."""
    parts = [HEAD]
    for heading, rows in groups().items():
        parts.append(f"\n## {heading}\n{COLUMNS}" + "".join(_line(row) for row in _merged(rows)))
    lines = [f"| `{code}` | {p.severity} | {p.source} | {p.why} | {p.remedy} |\n" for code, p in CODES.items()]
    parts.append("\n## Between nodes\n" + COLUMNS + "".join(lines))
    return "".join(parts)


def _merged(rows: Sequence[Row | Rule]) -> Iterable[tuple[Row | Rule, list[str]]]:
    """Rows that say the same of several packages stand in one line."""
    lines: dict[tuple[str, str, str], tuple[Row | Rule, list[str]]] = {}
    for row in rows:
        same = (row.source, row.why, row.severity) if row.name.startswith("package.") else (row.name, "", "")
        lines.setdefault(same, (row, []))[1].extend(codes(row) or [row.name])
    return lines.values()


def _line(entry: tuple[Row | Rule, list[str]]) -> str:
    row, names = entry
    severity = str(row.severity)
    if isinstance(row, Row):
        worst = Severity.ERROR if row.must else row.severity
        severity = "told" if not codes(row) else f"{worst}, needed" if row.needed else str(worst)
    shown = ", ".join(f"`{name}`" for name in names)
    deep = " (--deep)" if isinstance(row, Row) and row.deep else ""
    return f"| {shown}{deep} | {severity} | {row.source} | {row.why} | {_remedy(row)} |\n"


def _remedy(row: Row | Rule) -> str:
    return row.remedy.replace("|", "\\|")
