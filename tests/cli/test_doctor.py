"""`llmctl doctor`: its table, its JSON and its exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import RunLlmctl


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir(mode=0o700)
    return {**os.environ, "HOME": str(tmp_path), "LLMCTL_HOME": str(tmp_path / "home"), "LLMCTL_RUNS": str(tmp_path)}


def test_json_and_table_tell_the_same(env: dict[str, str], run_llmctl: RunLlmctl) -> None:
    told = json.loads(run_llmctl("doctor", "--json", env=env, code=(0, 3)).stdout)
    assert told["schema"] == 1
    assert {row["health"] for row in told["rows"]} <= {"good", "warn", "bad"}
    table = run_llmctl("doctor", env=env, code=(0, 3)).stdout
    for row in told["rows"]:
        assert row["what"] in table
        assert (not row["next"]) == (row["health"] == "good")
        assert row["next"] in table
    assert table.splitlines()[-1].startswith(f"{len(told['rows'])} rows: {told['bad']} bad")
    assert "\x1b" not in table


def test_a_private_key_that_others_can_read_is_bad(env: dict[str, str], tmp_path: Path, run_llmctl: RunLlmctl) -> None:
    key = tmp_path / "home" / "id_ed25519"
    key.write_text("x")
    key.chmod(0o644)
    done = run_llmctl("doctor", env=env, code=3)
    assert "bad  key" in done.stdout
    assert f"chmod 0600 {key}" in done.stdout
    key.chmod(0o600)
    (tmp_path / "home").chmod(0o777)
    assert "others can change it" in run_llmctl("doctor", env=env, code=3).stdout
