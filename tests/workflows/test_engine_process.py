"""What the engine's process tells when it refuses its data, as an error of the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llmctl.errors import UsageError
from llmctl.recipe.load import load_recipe
from llmctl.workflows.engine_process import run_module
from llmctl.workflows.prepare import prepare
from tests.engine.runs import INIT


class Silent:
    def step(self, text: str) -> None:
        """Nothing."""

    def rows(self, done: int, total: int | None) -> None:
        """Nothing."""


def write(folder: Path, rows: str) -> Path:
    (folder / "data").mkdir()
    (folder / "data" / "d.json").write_text(rows)
    recipe = {"name": "r", "cluster": {"device": "cpu"}, "launch": {"backend": "local"}, "model": {"init": INIT}}
    path = folder / "r.yaml"
    path.write_text(json.dumps(recipe | {"data": {"datasets": ["d"]}}))  # JSON is YAML
    return path


@pytest.mark.engine
@pytest.mark.parametrize(
    ("rows", "what", "hint"),
    [
        ('[{"instruction": "Q"}]', "d: 1 row with no output (1)", "mend them, or set data.broken_rows: skip"),
        ('[{"instruction": "Q"},]', "is no JSON: row 2: Expecting value", "docs/data.md tells what can be read"),
    ],
)
def test_what_is_wrong_with_the_data_and_what_to_do_stand_apart(
    rows: str, what: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCTL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError) as raised:
        prepare(str(write(tmp_path, rows)), workers=1, teller=Silent())
    assert raised.value.what.endswith(what)
    assert raised.value.hint.endswith(hint)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ("error: one\\nnext: do it", "one\n  next: do it"),
        ("next: before\\nerror: one\\nerror: two\\nand more\\nnext: not of it", "two"),
        ("error: one\\nnext: do it\\nlast words", "one\n  next: do it"),
    ],
)
def test_the_last_refusal_counts_with_the_line_behind_it(told: str, error: str, tmp_path: Path) -> None:
    recipe = load_recipe(str(write(tmp_path, "[]"))).recipe
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nprintf '{told}\\n' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(UsageError) as raised:
        run_module(recipe, str(python), [sys.executable], tmp_path, lambda _line: None)
    assert str(raised.value) == error
