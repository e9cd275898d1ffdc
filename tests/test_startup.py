"""The command line starts without the heavy libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "pandas", "numpy", "paramiko", "matplotlib", "pydantic"}

LOADED = """
import json, sys
from llmctl.cli.app import app
from llmctl.cli.exits import run_guarded
code = run_guarded(app)
print(json.dumps({"code": code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["ps"]], ids=" ".join)
def test_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        env=dict(os.environ, LLMCTL_HOME=str(tmp_path)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ended = json.loads(done.stdout.splitlines()[-1])
    assert ended["code"] == 0, done.stderr
    assert "llmctl" in ended["modules"]
    assert HEAVY.isdisjoint(ended["modules"]), HEAVY.intersection(ended["modules"])
