"""Do the same on many nodes at once: every node gets a result or an error, order kept."""

from __future__ import annotations

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
) -> list[Outcome[K, T]]:
    """Run `work` on each item, at most `limit` at once. A LlmctlError becomes that item's error; any other
    exception is a defect and is raised. `done` gets each outcome as it comes, in the thread that called; what is not
    begun at a KeyboardInterrupt is dropped, and what runs is left to end by itself."""

    def one(item: K) -> Outcome[K, T]:
        try:
            return Outcome(item, value=work(item))
        except LlmctlError as error:
            return Outcome(item, error=error)

    todo = list(items)
    if not todo:
        return []
    pool = ThreadPoolExecutor(max_workers=min(limit, len(todo)))
    try:
        futures = [pool.submit(one, item) for item in todo]
        for future in as_completed(futures):
            done(future.result())
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
