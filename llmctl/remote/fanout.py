"""Do the same on many nodes at once: every node gets a result or an error, order kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
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


def fan_out(items: Iterable[K], work: Callable[[K], T], *, limit: int = 64) -> list[Outcome[K, T]]:
    """Run `work` on each item, at most `limit` at once. A LlmctlError becomes that item's error; any other
    exception is a defect and is raised."""

    def one(item: K) -> Outcome[K, T]:
        try:
            return Outcome(item, value=work(item))
        except LlmctlError as error:
            return Outcome(item, error=error)

    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(max_workers=min(limit, len(todo))) as pool:
        return list(pool.map(one, todo))
