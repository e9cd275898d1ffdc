"""The examples of docs/report.md are what the command does."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import RunLlmctl

PAGE = (Path(__file__).resolve().parents[1] / "docs/report.md").read_text(encoding="utf-8")


def log(name: str, factor: float) -> None:
    Path(name).write_text(
        "".join(
            f" iteration {n}/ 30 | elapsed time per iteration (ms): 500.0 | global batch size: 8 "
            f"| lm loss: {factor * (2 + 1 / n):.6E} |\n"
            for n in range(1, 31)
        )
    )


def test_examples_show_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_llmctl: RunLlmctl) -> None:
    monkeypatch.chdir(tmp_path)
    for name, factor in (("baichuan", 1.001), ("yuan", 1.1), ("reference", 1.0)):
        log(f"{name}.log", factor)
    examples = re.findall(r"^    \$ llmctl (.+)\n((?:    .+\n|\n(?=    ))+)", PAGE, re.MULTILINE)
    assert examples
    for words, shown in examples:
        done = run_llmctl(*words.split(), env={**os.environ, "LLMCTL_HOME": str(tmp_path / "home")}, cwd=tmp_path)
        assert done.stdout.rstrip() == re.sub("^    ", "", shown, flags=re.MULTILINE).rstrip()


def test_commands_and_options_exist(run_llmctl: RunLlmctl) -> None:
    told = {name: run_llmctl(name, "--help", code=0).stdout for name in ("report", "rerun", "diff")}
    for line in re.findall(r"`?llmctl ((?:report|rerun|diff)\b[^`\n]*)", PAGE):
        command = line.split()[0]
        for option in re.findall(r"(?<!\S)--[a-z-]+", line):
            assert re.search(rf"{option}\b", told[command]), f"llmctl {command} has no {option}"
    for option in set(re.findall(r"`(--[a-z-]+)", PAGE)):
        assert any(option in text for text in told.values()), f"nothing has {option}"
