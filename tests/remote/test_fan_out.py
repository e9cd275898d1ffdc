"""What is asked of many nodes at once, when it is broken off."""

from __future__ import annotations

import threading

import pytest

from llmctl.remote.fanout import fan_out


def test_an_interrupt_just_while_a_thread_starts_waits_for_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work(item: str) -> None:
        begun.set()
        go_on.wait(60)
        done.append(item)

    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        begun.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fan_out(["node1", "node2"], work, stop=go_on.set)
    assert done == ["node1"]


def test_what_was_not_begun_at_an_interrupt_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[threading.Thread] = []
    done: list[str] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        late.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fan_out(["node1"], done.append, stop=lambda: None)
    for thread in late:
        start(thread)
        thread.join(60)
    assert done == []
