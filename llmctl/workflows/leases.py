"""Which run uses which devices of a node: taken before anything is checked or copied, given back at the end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from typing import TYPE_CHECKING, Any

from llmctl_engine.devices import DEVICES

from llmctl.errors import BlockedError, LlmctlError, ManyNodeErrors
from llmctl.launch.oneshot import ask
from llmctl.remote.fanout import Outcome, fan_out, let_end
from llmctl.remote.transport import Transport

if TYPE_CHECKING:
    from llmctl.run.plan import Plan

FOLDER = "/tmp/llmctl-leases"  # noqa: S108 - shared by all users of a node; lease.py says how it is made safe
RENEWED = 45.0
"""Seconds between two renewals; a lease that nobody renews and no process holds is over after 180 s."""
ASKED = 5.0
"""Seconds between two tries of a run that waits."""
YOUNG = 10.0
"""Seconds for which another start that takes leases may still give them back."""
TRIES = 4


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who uses a device of a node."""

    node: str
    device: str
    """Kind and number: `npu-3`."""
    user: str
    run_id: str
    """Empty for a process that is no run's."""
    since: float
    """Unix seconds; 0 where that is not known."""
    pid: int | None
    alive: bool
    own: bool = False
    """Of the account that asks."""

    def __str__(self) -> str:
        whose = f"run {self.run_id}" if self.run_id else "a process"
        since = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(self.since)) if self.since else ""
        pid = f" (pid {self.pid})" if self.pid else ""
        return f"{self.node} {self.device}: {whose} of {self.user or 'somebody'}{since}{pid}"


class Busy(BlockedError):
    """Devices that a run wants are in use."""

    def __init__(self, holders: Sequence[Holder]) -> None:
        super().__init__(
            f"{len(holders)} {'device is' if len(holders) == 1 else 'devices are'} in use",
            why="; ".join(map(str, holders[:4])) + (f"; and {len(holders) - 4} more" if len(holders) > 4 else ""),
            hint="--set launch.when_busy=wait waits for them, cluster.devices names others; llmctl nodes clean ends "
            "what dead runs left",
        )
        self.holders = tuple(holders)


def wanted(plan: Plan) -> dict[str, tuple[int, ...]]:
    """The device numbers that a run uses by node; empty for one that leases nothing."""
    recipe = plan.recipe
    accelerator = DEVICES[recipe.cluster.device].collective != "gloo"
    if recipe.launch.backend == "slurm" or not (accelerator or recipe.launch.when_busy):  # Slurm gives them itself
        return {}
    return {node.name: recipe.cluster.devices or tuple(range(node.slots)) for node in plan.nodes}


@contextmanager
def held(plan: Plan, transports: Mapping[str, Transport], step: Callable[[str], None]) -> Iterator[None]:
    """Hold the run's devices while it starts; when that ends well, its supervisors hold them, and where they cannot is
    told. Raises Busy, or waits with `launch.when_busy: wait`; ManyNodeErrors when a node cannot keep leases. Nothing is
    left after an error."""
    devices = wanted(plan)
    if not devices:
        yield
        return
    take(plan, devices, transports, step)
    over = threading.Event()
    renewer = threading.Thread(target=_renew, args=(plan, transports, over), daemon=True)
    try:
        renewer.start()
        yield
        for adopted in _everywhere("adopt", plan.run_id, plan.python, transports, run_dir=plan.paths.run_dir):
            if adopted.error is not None:
                step(f"{adopted.error}\nthe run has started; to other users its devices there may soon look free")
    except BaseException:
        over.set()
        release(plan.run_id, plan.python, transports)
        raise
    finally:
        over.set()


def take(
    plan: Plan,
    devices: Mapping[str, Sequence[int]],
    transports: Mapping[str, Transport],
    step: Callable[[str], None],
) -> None:
    """Lease `devices` on all nodes, as `held` says."""
    told, tries = "", 0
    while True:
        busy = _try(plan, devices, transports)
        if not busy:
            return
        tries += 1
        starting = all(holder.run_id and holder.pid is None and _age(holder) < YOUNG for holder in busy)
        if plan.recipe.launch.when_busy == "wait":
            text = "; ".join(map(str, busy[:4]))
            if text != told:
                step(f"waiting for {text}")
                told = text
            time.sleep(ASKED)
        elif starting and tries < TRIES:
            time.sleep(random.uniform(0.5, 2))  # noqa: S311 - two that took each other's devices part this way
        else:
            raise Busy(busy)


def release(run_id: str, python: str, transports: Mapping[str, Transport]) -> list[Outcome[str, dict[str, Any]]]:
    """Give back what a run holds on the nodes that `transports` reach."""
    return _everywhere("release", run_id, python, transports)


def listed(node: str, transport: Transport, python: str = "python3") -> list[Holder]:
    """All leases of a node, those that hold no longer too. Raises NodeError."""
    told = _ask(transport, python, {"verb": "list", "folder": FOLDER, "kind": None})
    return [_holder(node, who) for who in told["leases"]]


def drop(transport: Transport, python: str = "python3") -> int:
    """Remove this user's leases that hold no longer; how many there were. Raises NodeError."""
    return int(_ask(transport, python, {"verb": "drop", "folder": FOLDER})["dropped"])


def _ask(transport: Transport, python: str, request: Mapping[str, Any]) -> dict[str, Any]:
    return ask(transport, "lease.py", request, python=python, what="the leases of its devices cannot be kept")


def _try(plan: Plan, devices: Mapping[str, Sequence[int]], transports: Mapping[str, Transport]) -> list[Holder]:
    """Lease everything, or nothing; who is in the way. The first node in the order of names decides between two that
    start at once."""
    first, *others = sorted(devices)

    def one(node: str) -> list[Holder]:
        kind = plan.recipe.cluster.device
        request = {
            "verb": "take",
            "folder": FOLDER,
            "run_id": plan.run_id,
            "kind": kind,
            "devices": list(devices[node]),
            "user": getuser(),
            "ask": DEVICES[kind].visible is not None,
        }
        return [_holder(node, who) for who in _ask(transports[node], plan.python, request).get("busy", ())]

    try:
        outcomes = fan_out([first], one, stop=let_end)
        if not _in_the_way(outcomes):
            outcomes += fan_out(others, one, stop=let_end)
    except BaseException:
        release(plan.run_id, plan.python, transports)
        raise
    errors: list[LlmctlError] = [outcome.error for outcome in outcomes if outcome.error]
    busy = [holder for outcome in outcomes for holder in outcome.value or ()]
    if errors or busy:
        release(plan.run_id, plan.python, {node: transports[node] for node in devices})
    if errors:
        raise ManyNodeErrors(errors, what="devices cannot be leased")
    return busy


def _in_the_way(outcomes: Sequence[Outcome[str, list[Holder]]]) -> bool:
    return any(outcome.error or outcome.value for outcome in outcomes)


def _renew(plan: Plan, transports: Mapping[str, Transport], over: threading.Event) -> None:
    while not over.wait(RENEWED):
        _everywhere("renew", plan.run_id, plan.python, transports)


def _everywhere(
    verb: str, run_id: str, python: str, transports: Mapping[str, Transport], **more: str
) -> list[Outcome[str, dict[str, Any]]]:
    def one(node: str) -> dict[str, Any]:
        own = {**more, "node": node} if more else {}
        return _ask(transports[node], python, {"verb": verb, "folder": FOLDER, "run_id": run_id, **own})

    return fan_out(list(transports), one)


def _age(holder: Holder) -> float:
    return abs(time.time() - holder.since)


def _holder(node: str, who: Mapping[str, Any]) -> Holder:
    return Holder(node=node, **{key: who[key] for key in ("device", "user", "run_id", "since", "pid", "alive", "own")})
