"""What only one rank of a node does, while the others wait: before any process group exists, with nothing but a file
of this machine between them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llmctl_engine.errors import EngineError, Stopped

BEGINS_WITHIN = 600.0
"""Seconds that the first rank may take to start."""
_LOOK = 0.2
DIGITS = 16
"""Of what tells apart the notes of different attempts."""


@contextmanager
def on_node(name: str, do: Callable[[], str]) -> Iterator[str]:
    """What `do` gives, done by the first rank of this node alone; the block is for all ranks. `name` tells apart what
    runs at the same time.

    The first rank raises what `do` raises; the others raise EngineError with its words, also when it was killed, and
    Stopped where it was."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    note = _note(name)
    if local:
        yield _wait(note)
        return
    _clear(note.parent)
    aside = note.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        # Held as long as this process works on it, and nobody sees the file without: the kernel lets go when it dies.
        fcntl.flock(file, fcntl.LOCK_EX)
        aside.rename(note)
        try:
            made = do()
        except BaseException as error:
            signal_number = error.signal_number if isinstance(error, Stopped) else 0
            json.dump({"error": str(error) or type(error).__name__, "stopped": signal_number}, file)
            raise
        json.dump({"made": made}, file)
    yield made
    note.unlink(missing_ok=True)  # not after an error: a rank that comes late then still reads it


def _wait(note: Path) -> str:
    until = time.monotonic() + BEGINS_WITHIN
    while True:
        try:
            with os.fdopen(os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as file:
                if os.fstat(file.fileno()).st_uid != os.getuid():
                    raise EngineError(
                        f"{note} belongs to another user, so what it says is not believed",
                        hint="remove it, or set TMPDIR to a folder of your own",
                    )
                fcntl.flock(file, fcntl.LOCK_SH)
                told = json.loads(file.read() or "{}")
            break
        except FileNotFoundError:
            if time.monotonic() > until:
                raise EngineError(f"the first rank of this node did not start within {BEGINS_WITHIN:.0f} s") from None
            time.sleep(_LOOK)
    if "made" not in told:
        if told.get("stopped"):
            raise Stopped(told["stopped"], told["error"])
        why = told.get("error", "it ended without a word; perhaps it was killed for the memory that it took")
        raise EngineError(f"the first rank of this node could not prepare the data: {why}")
    return str(told["made"])


def _clear(folder: Path) -> None:
    """Remove this user's notes that nobody writes on and no rank can come to read any more."""
    for path in folder.glob(f"llmctl-{os.getuid()}-{'[0-9a-f]' * DIGITS}.*"):
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as file:
                told = os.fstat(file.fileno())
                if told.st_uid == os.getuid() and time.time() - told.st_mtime > BEGINS_WITHIN:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
        except OSError:
            continue  # it is held, or another rank was faster


def _note(name: str) -> Path:
    """A name that only the ranks of this node share, and no attempt before them: they have one parent."""
    attempt = (name, os.getppid(), os.environ.get("MASTER_PORT"), os.environ.get("TORCHELASTIC_RESTART_COUNT"))
    digest = hashlib.sha256(repr(attempt).encode()).hexdigest()[:DIGITS]
    return Path(tempfile.gettempdir()) / f"llmctl-{os.getuid()}-{digest}.json"
