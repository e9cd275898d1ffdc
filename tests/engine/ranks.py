"""Ranks of the engine in processes of their own: forks of one in which torch and its libraries are imported already."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

PRELOADED = ["torch", "transformers.trainer", "peft", "llmctl_engine.train", "llmctl_engine.trainer"]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


class Rank:
    """`python -m llmctl_engine FOLDER/engine.json` in a folder, with an environment of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._log = folder / f"printed-by-rank{env['RANK']}"
        self._process = CONTEXT.Process(target=_become, args=(str(folder), dict(env), str(self._log)))
        with patch.dict(os.environ, env, clear=True):  # the first one's is also that of the imports
            self._process.start()

    @property
    def code(self) -> int | None:
        """The exit code, a signal's number negative; None while it lives."""
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self, within: float) -> tuple[int, str]:
        """Its exit code and all that it printed, when it has ended; it is killed after `within` seconds."""
        self._process.join(within)
        if self.code is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"no end within {within:g} s\n{self._log.read_text()}")
        assert self.code is not None
        return self.code, self._log.read_text()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()


def _become(folder: str, env: dict[str, str], log: str) -> None:
    """In the fork: what a new process would have, then the engine's own main."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(printed, stream)
    from llmctl_engine.__main__ import main

    try:
        sys.exit(main([f"{folder}/engine.json"]))
    finally:
        atexit._run_exitfuncs()  # type: ignore[attr-defined]  # a fork of multiprocessing leaves them out
