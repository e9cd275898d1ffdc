"""Bring one thing to many nodes: who has it hands it on, so that the launcher sends it once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from llmctl.errors import LlmctlError, NodeError

AT_ONCE = 2
"""Nodes that one sender serves at the same time: more would only share its link."""
DIRECT = 8
"""The same for the launcher where no node can hand on."""


class HopFailed(NodeError):
    """A sender could not bring it to this node, which is not the node's own failure: another sender may."""


def spread(
    targets: Sequence[str],
    *,
    holders: Collection[str],
    relays: Collection[str],
    deliver: Callable[[str | None, str], None],
    abort: Callable[[], None],
) -> dict[str, LlmctlError]:
    """Bring it to every target and give the errors of those that failed.

    `holders` have it already, `relays` can log in to others. `deliver(sender, target)` does one hop, sender None being
    the launcher; it raises HopFailed when another sender is to try. The launcher sends to one relay at a time while a
    relay may still serve the others, and directly where no relay can. `abort` must make running hops end; it is called
    before any other exception leaves."""
    errors: dict[str, LlmctlError] = {}
    waiting = list(targets)
    senders = [name for name in holders if name in relays]
    refused: set[tuple[str, str]] = set()
    running: dict[Future[None], tuple[str | None, str]] = {}

    def busy(sender: str | None) -> int:
        return sum(source == sender for source, _ in running.values())

    def choice(target: str) -> tuple[bool, str | None]:
        """Whether `target` can start now, and from whom."""
        able = [sender for sender in senders if (sender, target) not in refused]
        if able:
            best = min(able, key=busy)
            return busy(best) < AT_ONCE, best
        coming = {name for _, name in running.values()} | (set() if target in relays else set(waiting))
        if any(name in relays and (name, target) not in refused for name in coming - {target}):
            return False, None
        return busy(None) < DIRECT, None

    with ThreadPoolExecutor(max_workers=max(1, len(targets))) as pool:
        try:
            while waiting or running:
                for target in list(waiting):
                    free, sender = choice(target)
                    if free:
                        waiting.remove(target)
                        running[pool.submit(deliver, sender, target)] = (sender, target)
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    sender, target = running.pop(done)
                    error = done.exception()
                    if error is None:
                        senders += [target] if target in relays else []
                    elif isinstance(error, HopFailed) and sender is not None:
                        refused.add((sender, target))
                        waiting.append(target)
                    elif isinstance(error, LlmctlError):
                        errors[target] = error
                    else:
                        raise error
        except BaseException:
            abort()
            raise
    return errors
