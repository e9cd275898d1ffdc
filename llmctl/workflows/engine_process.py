"""A module of the engine as a process of this machine that tells how it goes on in lines of JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmctl.errors import LlmctlError, UsageError
from llmctl.quoting import sh_quote
from llmctl.recipe.schema import Recipe
from llmctl.render.files import entering, environment, shell_of
from llmctl.resources import engine_dir, home_dir

GRACE = 5.0
"""Seconds that a process has to end after each way of asking."""
MARK, NEXT = "error: ", "next: "
"""What the engine's own words begin with on standard error, and the line behind them that tells what to do."""
INSTALL = "pip install 'llmctl[engine]' here"


def as_here(recipe: Recipe) -> Recipe:
    """The recipe without the activation that is for other machines."""
    if recipe.launch.backend == "local":
        return recipe
    return recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"activate": ()})})


def _script(recipe: Recipe, python: str) -> str:
    """The shell text that enters the environment of a run, and starts `python -m` with the words that it is given."""
    path = f'export PYTHONPATH={sh_quote(str(engine_dir()))}"${{PYTHONPATH:+:$PYTHONPATH}}"\n'
    return f'{entering(recipe, environment(recipe))}{path}exec {sh_quote(python)} -m "$@"\n'


def run_module(
    recipe: Recipe, python: str, words: Sequence[str], folder: Path, hear: Callable[[Mapping[str, Any]], None]
) -> None:
    """Run a module of the engine with its `words` to its end; `hear` gets each line of JSON that it prints. `folder`
    holds the script meanwhile. Nothing of it lives on when this is broken off.

    Raises UsageError with the engine's own words, or when its libraries are missing; LlmctlError when it broke."""
    recipe, script = as_here(recipe), folder / "enter.sh"
    script.touch(mode=0o600)  # cluster.env may hold tokens
    script.write_text(_script(recipe, python), encoding="utf-8")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [shell_of(recipe), str(script), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        try:
            for line in process.stdout or ():
                if told := _told(line):
                    hear(told)
            code = process.wait()
        finally:
            _end(process)
        if code:
            errors.seek(0)
            raise _why(code, errors.read().decode("utf-8", "replace"))


def _told(line: str) -> Mapping[str, Any] | None:
    """What a line tells; None for words, such as those that an activation prints."""
    if not line.startswith("{"):
        return None
    try:
        told: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return None
    return told


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and what it has started, if it lives; at once when this is broken off too."""
    try:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                break
            os.killpg(process.pid, signum)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
                _kill(process)  # what it has left behind
    except BaseException:
        _kill(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _why(code: int, told: str) -> LlmctlError:
    lines = told.strip().splitlines()
    missing = next((line for line in reversed(lines) if line.startswith("ModuleNotFoundError: ")), "")
    if missing or code == 127:
        what = missing.partition("'")[2].partition("'")[0] or "its Python"
        return UsageError(
            f"{what} is not installed on this machine", why="the engine needs it to tokenise", hint=INSTALL
        )
    own = [number for number, line in enumerate(lines) if line.startswith(MARK)]
    if own:
        behind = lines[own[-1] + 1 :]
        hint = behind[0].removeprefix(NEXT) if behind and behind[0].startswith(NEXT) else ""
        return UsageError(lines[own[-1]].removeprefix(MARK), hint=hint)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return LlmctlError("the process was killed", why="perhaps for the memory that it took", hint="try --workers 1")
    whole = home_dir() / "crash" / time.strftime("engine-%Y%m%d-%H%M%S.txt", time.gmtime())
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_text(told, encoding="utf-8")
    return LlmctlError(
        f"the engine ended with exit code {code}",
        why=lines[-1] if lines else "it said nothing",
        hint=f"all that it said is in {whole}",
    )
