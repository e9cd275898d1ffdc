"""Asking many without waiting for who is much later than the others."""

from __future__ import annotations

import threading
import time

import pytest

from llmctl.errors import LlmctlError, NodeError
from llmctl.remote.fanout import first_come
from llmctl.remote.soon import dial_patience, login_patience


def late(item: str, seconds: float) -> LlmctlError:
    return NodeError("late", where=item, why=f"{seconds:.1f}")


def test_who_is_late_gets_an_error_and_what_comes_of_it_is_dropped() -> None:
    go, dropped, gone = threading.Event(), [], threading.Event()

    def work(item: str) -> str:
        if item == "b":
            go.wait(60)
        if item == "c":
            raise NodeError("refused", where=item)
        return item.upper()

    def drop(value: str) -> None:
        dropped.append(value)
        gone.set()

    outcomes = first_come(
        ["b", "c", "a"],
        work,
        patience=lambda newest: 20 if newest is None else 0.2,
        late=late,
        drop=drop,
        limit=2,  # the thread of "c" does "a" after it
    )
    assert [each.value for each in outcomes] == [None, None, "A"]
    assert [each.error.what if each.error else None for each in outcomes] == ["late", "refused", None]
    go.set()
    assert gone.wait(60)
    assert dropped == ["B"]


def test_patience_that_grows_meanwhile_is_had() -> None:
    began = time.monotonic()

    def patience(_newest: float | None) -> float:
        return 0.05 if time.monotonic() - began < 0.02 else 20

    def work(item: str) -> str:
        time.sleep(0.2)
        return item

    (outcome,) = first_come(["a"], work, patience=patience, late=late, drop=lambda _value: None)
    assert outcome.value == "a"


def test_more_items_than_threads_all_get_their_turn_and_a_defect_is_raised() -> None:
    everything = [str(number) for number in range(20)]
    outcomes = first_come(everything, str, patience=lambda _newest: 20, late=late, drop=lambda _value: None, limit=3)
    assert [each.value for each in outcomes] == everything
    with pytest.raises(ZeroDivisionError):
        first_come(["a"], lambda _item: 1 / 0, patience=lambda _newest: 20, late=late, drop=lambda _value: None)


def test_patience_is_measured_by_the_others() -> None:
    assert dial_patience(None, 2) == dial_patience(9.0, 2) == 10
    assert dial_patience(0.001, 2) < 0.5 < 1 < dial_patience(0.001, 64)
    assert dial_patience(1.0, 2) == 2
    assert login_patience(0.1) == 3
    assert login_patience(2.0) == 4
