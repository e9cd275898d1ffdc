"""Chunks built by worker processes, in the order of the rows."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from llmctl_engine.building import Builder, Chunk
from llmctl_engine.config import EngineConfig
from llmctl_engine.errors import EngineError
from llmctl_engine.rows import Numbered
from llmctl_engine.sources import Source
from llmctl_engine.tokenizer import leave_out_torch, load_tokenizer

ROWS = 256
"""Rows of a chunk at most."""
LETTERS = 1 << 20
"""A chunk ends after so many letters, of which only texts at the top of a row are counted."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def cut(rows: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """The rows in chunks, cut where they are always cut."""
    chunk: list[Numbered] = []
    letters = 0
    for row in rows:
        chunk.append(row)
        if isinstance(row.row, dict):
            letters += sum(len(value) for value in row.row.values() if isinstance(value, str))
        if len(chunk) == ROWS or letters >= LETTERS:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


def build(
    config: EngineConfig, found: Sequence[Source], trained: Path | None, rows: Iterable[Numbered], workers: int
) -> Generator[Chunk]:
    """The chunks of all rows, by so many processes, which end when it is closed; `trained` is the folder of the
    tokenizer that was trained on them. The chunks are the same for any number. Raises EngineError as `Builder`, and for
    a process that was killed."""
    told = pickle.dumps((config, tuple(found), trained))
    alone = threading.active_count() == 1 and sys.modules.get("torch") is None
    if alone:
        _builder(told)  # which the processes then have from the start
    context = multiprocessing.get_context("fork" if alone else "spawn")
    chunks = cut(rows)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(config,)) as pool:
        asked = (pool.submit(_build, told, chunk) for chunk in chunks)
        waiting = deque(itertools.islice(asked, 2 * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(itertools.islice(asked, 1))
        except BrokenProcessPool:
            raise EngineError(
                "a process that tokenises was killed", hint="perhaps for the memory that all took: take fewer of them"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(config: EngineConfig) -> None:
    """Set up a worker: it leaves when its parent does, in whatever way, and only then."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    leave_out_torch(config.model)


def _leave_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


@functools.cache
def _builder(told: bytes) -> Builder:
    config, found, trained = pickle.loads(told)  # noqa: S301 - the parent wrote it
    return Builder(config, found, load_tokenizer(config.model, trained))


def _build(told: bytes, rows: list[Numbered]) -> Chunk:
    return _builder(told).build(rows)
