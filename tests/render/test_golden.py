"""Everything that a user could paste is held, byte by byte, against tests/golden."""

from __future__ import annotations

import subprocess

import pytest

from tests.render.accept import GOLDEN, cases, rendered

HOW = "if the change is meant: python -m tests.render.accept, then read the diff"


@pytest.mark.parametrize("case", cases())
def test_shipped_recipe_renders_as_accepted(case: str) -> None:
    now = rendered(case)
    folder = GOLDEN / case
    before = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }
    assert sorted(now) == sorted(before), HOW
    for name, text in now.items():
        assert text == before[name], f"{case}/{name}: {HOW}"


def test_no_golden_folder_is_left_over() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(cases()), HOW


@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_scripts_are_valid_shell(case: str, shell: str) -> None:
    for path in sorted((GOLDEN / case).glob("*.sh")):
        checked = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
