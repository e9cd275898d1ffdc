"""Do the same on many nodes at once: every node gets a result or an error, order kept."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Generic, TypeVar

from llmctl.errors import LlmctlError

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class Outcome(Generic[K, T]):
    """What became of one item: `value`, or `error` when it failed."""

    item: K
    value: T | None = None
    error: LlmctlError | None = None


def fan_out(
    items: Iterable[K],
    work: Callable[[K], T],
    *,
    limit: int = 64,
    done: Callable[[Outcome[K, T]], None] = lambda _outcome: None,
    stop: Callable[[], None] | None = None,
) -> list[Outcome[K, T]]:
    """Run `work` on each item, at most `limit` at once. A LlmctlError becomes that item's error; any other
    exception is a defect and is raised. `done` gets each outcome as it comes, in the thread that called; what is not
    begun at a KeyboardInterrupt is dropped, and what runs is left to end by itself. With `stop`, which shall make it
    end, it is waited for."""

    over, begun = threading.Event(), list[threading.Event]()

    def one(item: K) -> Outcome[K, T]:
        ended = threading.Event()
        begun.append(ended)  # before it looks whether all is over, so that it is waited for or does nothing
        try:
            if over.is_set():
                raise KeyboardInterrupt
            return Outcome(item, value=work(item))
        except LlmctlError as error:
            return Outcome(item, error=error)
        finally:
            ended.set()

    todo = list(items)
    if not todo:
        return []
    pool = ThreadPoolExecutor(max_workers=min(limit, len(todo)))
    try:
        futures = [pool.submit(one, item) for item in todo]
        for future in as_completed(futures):
            done(future.result())
        return [future.result() for future in futures]
    except KeyboardInterrupt:
        over.set()
        if stop is not None:
            stop()
            for ended in begun:  # the pool itself forgets a thread that was just being started
                ended.wait()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def let_end() -> None:
    """As `stop` of `fan_out` for work that takes no time and is better not broken off."""


def first_come(
    items: Iterable[K],
    work: Callable[[K], T],
    *,
    patience: Callable[[float | None], float],
    late: Callable[[K, float], LlmctlError],
    drop: Callable[[T], None],
    limit: int = 64,
) -> list[Outcome[K, T]]:
    """As `fan_out`, without waiting for who is much later than the others. `patience` gives how many seconds after the
    start to wait, from the seconds after which the last value came (None: none has). An item that is late gets the
    error that `late` makes of it and of those seconds; what comes of it all the same goes to `drop`."""
    todo = list(items)
    waiting = queue.SimpleQueue[int]()
    for index in range(len(todo)):
        waiting.put(index)
    came = queue.SimpleQueue[tuple[int, Outcome[K, T] | Exception]]()
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                outcome: Outcome[K, T] | Exception = Outcome(todo[index], value=work(todo[index]))
            except LlmctlError as error:
                outcome = Outcome(todo[index], error=error)
            except Exception as error:  # noqa: BLE001 - raised again in the thread that called
                outcome = error
            came.put((index, outcome))
            if over.is_set():
                _drop_all(came, drop)

    # Not a pool: the interpreter would wait for its threads at the end of the process.
    for _ in range(min(limit, len(todo))):
        threading.Thread(target=serve, daemon=True).start()
    started, newest = time.monotonic(), None
    outcomes: dict[int, Outcome[K, T]] = {}
    while len(outcomes) < len(todo):
        left = started + patience(newest) - time.monotonic()
        try:
            index, outcome = came.get(timeout=max(0.0, left))
        except queue.Empty:
            if left <= 0:
                break
            continue
        if isinstance(outcome, Exception):
            over.set()
            raise outcome
        if outcome.value is not None:
            newest = time.monotonic() - started
        outcomes[index] = outcome
    over.set()
    if len(outcomes) < len(todo):
        _drop_all(came, drop)
    waited = time.monotonic() - started
    return [outcomes.get(i) or Outcome(item, error=late(item, waited)) for i, item in enumerate(todo)]


def _drop_all(came: queue.SimpleQueue[tuple[int, Outcome[K, T] | Exception]], drop: Callable[[T], None]) -> None:
    while True:
        try:
            _, outcome = came.get_nowait()
        except queue.Empty:
            return
        if isinstance(outcome, Outcome) and outcome.value is not None:
            drop(outcome.value)
