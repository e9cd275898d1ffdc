"""Attempts in the manifest."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from llmctl.launch.failures import Failure
from llmctl.run.attempts import Attempt, Reason, read_attempts
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.run.states import State
from llmctl.workflows.attempting import (
    Cancelled,
    assert_wanted,
    interrupted_restart,
    note_anew,
    note_attempt,
    started_alike,
)
from llmctl.workflows.watching import Ending


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    first = Attempt(number=1, started=1.0, nodes=("a", "b"), from_step=0)
    folder.update_manifest(state=State.RUNNING, attempts=[asdict(first)])
    return folder


def test_the_end_of_an_attempt_is_noted_once_and_may_be_noted_again(folder: RunFolder) -> None:
    progress = Progress(total_steps=9)
    progress.feed('{"record": "run", "total_steps": 9, "resumed_from_step": 5}\n')
    progress.feed('{"record": "step", "step": 7, "loss": 1.0}\n')
    failure = Failure(node="b", rank=1, exit_code=137, message="ended by signal 9", tail=())
    ending = Ending(state=State.FAILED, reports={}, failure=failure, progress=progress, reason=Reason.RANK_KILLED)
    for _ in range(2):
        note_attempt(folder, ending)
    (noted,) = read_attempts(folder.read_manifest())
    assert noted.ended is not None
    assert (noted.reason, noted.node, noted.rank, noted.exit_code) == (Reason.RANK_KILLED, "b", 1, 137)
    assert (noted.from_step, noted.last_step) == (5, 7)


def test_a_lost_node_is_where_it_failed(folder: RunFolder) -> None:
    note_attempt(folder, Ending(state=State.LOST, reports={}, lost=("b",), reason=Reason.NODE_LOST))
    (noted,) = read_attempts(folder.read_manifest())
    assert (noted.node, noted.lost, noted.last_step) == ("b", ("b",), None)


def test_a_restart_is_interrupted_when_the_state_says_so(folder: RunFolder) -> None:
    folder.update_manifest(state=State.STAGING)
    assert not interrupted_restart(folder), "the first start"
    note_attempt(folder, Ending(state=State.FAILED, reports={}, reason=Reason.RANK_KILLED))
    assert interrupted_restart(folder)
    folder.update_manifest(state=State.RUNNING)
    assert not interrupted_restart(folder)


@pytest.mark.parametrize("reason", [Reason.RANK_KILLED, Reason.REQUEUED])
def test_what_torchrun_or_slurm_began_is_an_attempt_too(folder: RunFolder, reason: Reason) -> None:
    progress = Progress()
    progress.feed('{"record": "run", "total_steps": 9, "resumed_from_step": 5}\n')
    begun = note_anew(folder, progress, 8, reason)
    assert begun is not None
    first, second = read_attempts(folder.read_manifest())
    assert (first.reason, first.last_step) == (reason, 8)
    assert (second.number, second.from_step, second.elastic, second.automatic) == (2, 5, True, False)


def test_none_is_lost_where_two_note_at_once(folder: RunFolder) -> None:
    def note(reason: Reason) -> None:
        for _ in range(10):
            note_anew(folder, Progress(), 8, reason)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(note, [Reason.RANK_KILLED, Reason.REQUEUED]))
    attempts = read_attempts(folder.read_manifest())
    assert [each.number for each in attempts] == list(range(1, 22))
    assert Counter(each.reason for each in attempts) == {Reason.RANK_KILLED: 10, Reason.REQUEUED: 10, None: 1}


def test_a_run_is_started_alike_until_it_has_another_attempt_or_other_nodes(folder: RunFolder) -> None:
    before = folder.read_manifest()
    folder.update_manifest(state=State.SUCCEEDED, last_step=9)
    assert started_alike(before, folder.read_manifest())
    folder.update_manifest(job={"nodes": ["a", "c"]})
    assert not started_alike(before, folder.read_manifest())
    before = folder.read_manifest()
    note_anew(folder, Progress(), 8, Reason.REQUEUED)
    assert not started_alike(before, folder.read_manifest())


def test_a_cancelled_run_is_not_wanted_any_more(folder: RunFolder) -> None:
    assert_wanted(folder)
    folder.update_manifest(cancel_asked=5.0)
    with pytest.raises(Cancelled):
        assert_wanted(folder)
