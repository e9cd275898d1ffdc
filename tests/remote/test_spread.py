"""Who hands on to whom: with hops that only note themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from llmctl.errors import NodeError
from llmctl.remote.spread import AT_ONCE, HopFailed, spread

Hop = tuple[str | None, str]


class Hops:
    """Notes every hop; `fails` says what a hop raises."""

    def __init__(self, fails: Callable[[str | None, str], Exception | None] = lambda _s, _t: None) -> None:
        self.fails = fails
        self.done: list[Hop] = []
        self.most: dict[str | None, int] = {}
        self.aborted = False
        self._now: dict[str | None, int] = {}
        self._lock = threading.Lock()

    def deliver(self, sender: str | None, target: str) -> None:
        with self._lock:
            self._now[sender] = self._now.get(sender, 0) + 1
            self.most[sender] = max(self.most.get(sender, 0), self._now[sender])
        error = self.fails(sender, target)
        with self._lock:
            self._now[sender] -= 1
            if error is None:
                self.done.append((sender, target))
        if error is not None:
            raise error

    def abort(self) -> None:
        self.aborted = True

    def run(self, targets: list[str], relays: set[str], holders: tuple[str, ...] = ()) -> dict[str, str]:
        errors = spread(targets, holders=holders, relays=relays, deliver=self.deliver, abort=self.abort)
        return {name: str(error) for name, error in errors.items()}


NODES = [f"node{i}" for i in range(1, 17)]


def test_the_launcher_sends_once_and_the_first_node_does_the_rest() -> None:
    hops = Hops()
    assert hops.run(NODES, {"node1"}) == {}
    assert hops.done[0] == (None, "node1")
    assert sorted(hops.done[1:]) == sorted(("node1", name) for name in NODES[1:])
    assert hops.most["node1"] <= AT_ONCE


def test_in_a_mesh_the_nodes_form_a_tree() -> None:
    gate = threading.Barrier(2, timeout=10)  # two hops at the same time, from different senders

    def fails(sender: str | None, target: str) -> None:
        if target in ("node4", "node5"):
            gate.wait()

    hops = Hops(fails)
    assert hops.run(NODES, set(NODES)) == {}
    assert [sender for sender, _ in hops.done].count(None) == 1
    assert sorted(target for _, target in hops.done) == sorted(NODES)
    assert all(count <= AT_ONCE for count in hops.most.values())


def test_a_node_that_has_it_already_serves_and_the_launcher_sends_nothing() -> None:
    hops = Hops()
    hops.run(["node2", "node3"], {"node1"}, holders=("node1", "node4"))
    assert {sender for sender, _ in hops.done} == {"node1"}


def test_where_no_node_can_hand_on_the_launcher_serves_all() -> None:
    hops = Hops()
    assert hops.run(NODES, set(), holders=("node99",)) == {}
    assert {sender for sender, _ in hops.done} == {None}


def test_a_node_that_its_peers_cannot_reach_gets_it_from_the_launcher() -> None:
    def fails(sender: str | None, target: str) -> Exception | None:
        return HopFailed("no way", where=target) if sender is not None and target == "node3" else None

    hops = Hops(fails)
    assert hops.run(NODES[:4], {"node1", "node2"}) == {}
    assert [hop for hop in hops.done if hop[1] == "node3"] == [(None, "node3")]
    assert (None, "node4") not in hops.done


def test_a_first_node_that_fails_does_not_stop_the_others() -> None:
    def fails(sender: str | None, target: str) -> Exception | None:
        return NodeError("its disk is full", where=target) if target == "node1" else None

    hops = Hops(fails)
    assert hops.run(NODES[:3], {"node1"}) == {"node1": "node1: its disk is full"}
    assert hops.done == [(None, "node2"), (None, "node3")] or hops.done == [(None, "node3"), (None, "node2")]


def test_a_nodes_own_failure_is_not_tried_again() -> None:
    tried: list[Hop] = []

    def fails(sender: str | None, target: str) -> Exception | None:
        tried.append((sender, target))
        return NodeError("no room", where=target) if target == "node2" else None

    assert Hops(fails).run(NODES[:3], {"node1"}) == {"node2": "node2: no room"}
    assert [hop for hop in tried if hop[1] == "node2"] == [("node1", "node2")]


def test_a_defect_ends_the_running_hops_and_is_raised() -> None:
    hops = Hops(lambda _sender, _target: ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        hops.run(NODES, {"node1"})
    assert hops.aborted


def test_nothing_to_do_is_done() -> None:
    assert Hops().run([], {"node1"}, holders=("node1",)) == {}
