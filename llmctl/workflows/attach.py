"""Come back to a run: what happened so far, then its stream to the end. Acts for the run when nobody else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Sequence

from llmctl.errors import UsageError
from llmctl.launch.supervised import NodeReport
from llmctl.run.acting import actor
from llmctl.run.attempts import read_attempts
from llmctl.run.folder import RunFolder
from llmctl.run.records import Progress
from llmctl.run.states import State
from llmctl.workflows.attempting import interrupted_restart, started_alike
from llmctl.workflows.ending import noted_ending
from llmctl.workflows.keeping import keep
from llmctl.workflows.live import Live, opened
from llmctl.workflows.mirror import RECORDS, progress_of
from llmctl.workflows.pace import look
from llmctl.workflows.polling import INTERVAL, Answer, Polling, told_so_far
from llmctl.workflows.watching import Ending, Watcher, label_of

LAST_LINES = 5
"""Lines of each log that are shown again."""


def attach(folder: RunFolder, watcher: Watcher) -> Ending:
    """Follow a run to its end, from any machine that has the run folder and can reach its nodes; of a run that has
    ended, how it ended. A run that nobody acts for is kept, otherwise it is only looked on; KeyboardInterrupt passes
    through."""
    again, told = False, 0
    while True:
        attempts = read_attempts(folder.read_manifest())
        for attempt in attempts[told:]:
            watcher.note(attempt.line())
        told = len(attempts)
        ending = noted_ending(folder)
        if ending is not None:
            return ending
        if State(folder.read_manifest()["state"]) is not State.RUNNING and not _abandoned(folder):
            _await_start(folder, watcher)
            continue
        with opened(folder) as (live, errors):
            for error in errors.values():
                watcher.note(str(error))
            recent = [each.value for each in live.backend.status(live.job, live.transports) if each.value]
            if not again:
                _show(recent, live, watcher)
            again = True
            if actor(folder) is None:
                try:
                    return keep(live, watcher, recent)
                except UsageError:
                    if actor(folder) is None:
                        raise
            look_on(live, watcher, recent)


def look_on(live: Live, watcher: Watcher, recent: Sequence[NodeReport]) -> None:
    """Tell what is new behind `recent`, until the run's end is noted, nobody acts for it any more, or it is started
    again."""
    progress = progress_of(live, recent)
    silent: set[str] = set()
    known = live.folder.read_manifest()

    def as_before() -> bool:
        now = live.folder.read_manifest()
        return now["state"] == known["state"] and started_alike(known, now)

    def tell(answers: Iterable[Answer]) -> None:
        for answer in answers:
            tell_silence(answer, silent, watcher.note)
            if answer.value is None:
                silent.add(answer.item)
            else:
                silent.discard(answer.item)
                tell_news(answer.value, live, progress, watcher)

    with Polling(live, told_so_far(recent)) as polling:
        while actor(live.folder) is not None and as_before():
            look(live.folder)
            tell(polling.take(INTERVAL))
        tell(polling.rest())


def tell_news(report: NodeReport, live: Live, progress: Progress, watcher: Watcher) -> None:
    """Tell the new lines of one node; its records become progress."""
    for name, text in report.texts.items():
        if name != RECORDS:
            watcher.lines(label_of(name), text)
        elif report.node == live.job.nodes[0]:  # on a shared file system every node sees the same records
            progress.feed(text)
            watcher.progress(progress)


def tell_silence(answer: Answer, silent: Container[str], note: Callable[[str], None]) -> None:
    """Tell once that a node does not answer, and once that it does again; `silent` holds those that did not."""
    if answer.error is not None and answer.item not in silent:
        note(f"{answer.error}\n{answer.item} does not answer; trying again")
    elif answer.error is None and answer.item in silent:
        note(f"{answer.item} answers again")


def _show(recent: Sequence[NodeReport], live: Live, watcher: Watcher) -> None:
    for report in recent:
        for name, text in report.texts.items():
            if name != RECORDS:
                watcher.lines(label_of(name), "\n".join(text.splitlines()[-LAST_LINES:]))
    progress = progress_of(live, recent)
    if progress.step:
        watcher.note(f"step {progress.step} of {progress.total_steps} so far")
    watcher.progress(progress)


def _await_start(folder: RunFolder, watcher: Watcher) -> None:
    """Wait while another llmctl starts the run."""
    watcher.note(f"{folder.run_id} is being started")
    known = folder.read_manifest()["state"]
    while folder.read_manifest()["state"] == known and not _abandoned(folder):
        time.sleep(INTERVAL)


def _abandoned(folder: RunFolder) -> bool:
    """Whether the run was being started again by somebody who is gone."""
    return actor(folder) is None and interrupted_restart(folder)
