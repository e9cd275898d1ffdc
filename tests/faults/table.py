"""The fault table of docs/reliability.md, and the tests that are its rows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "reliability.md"
OTHERS = ("test_table.py",)
"""Test files that hold no rows."""


class Row(NamedTuple):
    """A row of the page: what happens, what the user is told, and so on; `test` is the test's name without `test_`."""

    fault: str
    told: str
    code: str
    within: str
    """Seconds from the fault until the command has ended."""
    lost: str
    left: str
    test: str
    soak: str

    @property
    def name(self) -> str:
        """The test's name."""
        return self.test.strip("`")


class Asserted(NamedTuple):
    """A test that is a row."""

    file: str
    """Relative to the checkout."""
    within: tuple[int, ...]
    """The bounds in seconds that it asserts itself."""
    codes: tuple[int, ...]
    """The exit codes of the watched command that it asserts itself."""


def rows_of_tests() -> dict[str, Asserted]:
    """Every row's test by its name, in the order of files and lines."""
    found: dict[str, Asserted] = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        if path.name in OTHERS:
            continue
        for item in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
                found[item.name.removeprefix("test_")] = _test(path, item)
    return found


def _test(path: Path, function: ast.FunctionDef) -> Asserted:
    within, codes = [], []
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "ends":
            if isinstance(call.args[0], ast.Constant):
                codes.append(int(str(call.args[0].value)))
            within += [k.value.value for k in call.keywords if k.arg == "within" and isinstance(k.value, ast.Constant)]
    return Asserted(str(path.relative_to(FOLDER.parents[1])), tuple(int(str(n)) for n in within), tuple(codes))


def rows_of_page() -> list[Row]:
    """The rows that the page shows."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if _is_row(line)]
    return [Row(*line) for line in cells]


def replace_rows(text: str, rows: list[Row]) -> str:
    """The page with each of its rows replaced by the one of the same name."""
    fresh = {row.name: "| " + " | ".join(row) + " |" for row in rows}
    lines = [
        fresh[line.strip("|").split(" | ")[-2].strip().strip("`")] if _is_row(line) else line
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def _is_row(line: str) -> bool:
    return line.startswith("| ") and line.count(" | ") == len(Row._fields) - 1 and not line.startswith("| fault |")
