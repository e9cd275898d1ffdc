"""This machine as a node: the same verbs without ssh."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from llmctl.errors import NodeError
from llmctl.recipe.hosts import Node
from llmctl.remote.transport import CommandResult


class LocalTransport:
    """A Transport to the machine that llmctl runs on."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60.0) -> CommandResult:
        """Run `command` with sh. After `timeout` seconds it is killed and NodeError is raised."""
        pipe = subprocess.PIPE
        argv = ["sh", "-c", command]
        with subprocess.Popen(argv, start_new_session=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                why = f"running: {command.splitlines()[0][:80]}"
                raise NodeError(f"no end after {timeout:g} s", where=self.node.name, why=why) from error
        code = 128 - process.returncode if process.returncode < 0 else process.returncode
        return CommandResult(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def put(self, files: Mapping[str, bytes | Path], *, mode: int = 0o644) -> None:
        """Write files, each aside, then renamed. Raises NodeError with the cause (a full disk, no permission)."""
        for name, content in files.items():
            path = Path(name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:200]}.", delete=False) as file:
                    aside = Path(file.name)
                    try:
                        _fill(aside, content)
                        aside.chmod(mode)
                        aside.replace(path)
                    except BaseException:
                        aside.unlink(missing_ok=True)
                        raise
            except OSError as error:
                raise NodeError("writing a file failed", where=f"{self.node.name}:{name}", why=str(error)) from error

    def get(self, remote: str, local: Path) -> None:
        """Copy one file. Raises NodeError when it is not there."""
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            if not (local.exists() and local.samefile(remote)):
                shutil.copyfile(remote, local)
        except OSError as error:
            raise NodeError("reading a file failed", where=f"{self.node.name}:{remote}", why=str(error)) from error

    def close(self) -> None:
        """Nothing is open."""


def _fill(path: Path, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)
