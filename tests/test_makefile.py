"""What `make` does, with a command in the place of llmctl that writes down how it was called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_demo_reports_on_its_own_run(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    llmctl = tmp_path / "bin" / "llmctl"
    llmctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    llmctl.chmod(0o755)
    for done in (".made", ".installed"):  # so that nothing is installed
        (tmp_path / done).touch()
    subprocess.run(["make", "demo", f"VENV={tmp_path}"], cwd=CHECKOUT, check=True, capture_output=True, timeout=60)
    run, report = (line.split() for line in (tmp_path / "calls").read_text().splitlines())
    assert run[:3] == ["run", "recipes/quickstart.yaml", "--name"]
    assert report[:2] == ["report", run[3]]
    assert len(run[3]) == len("demo-abcdef")
