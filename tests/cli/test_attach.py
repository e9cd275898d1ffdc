"""Leaving a run and coming back to it: attach, Ctrl-C, signals, pipes that are closed."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmctl.cli.watching import PlainWatcher
from llmctl.errors import Interrupted
from llmctl.run.acting import actor
from llmctl.run.folder import RunFolder
from llmctl.workflows.keeping import keep
from llmctl.workflows.live import Live, opened
from llmctl.workflows.run import RunRequest, begin
from llmctl.workflows.starting import bring_up
from tests.cli.conftest import MakeJob
from tests.cli.jobs import LocalJob
from tests.conftest import llmctl
from tests.faults.harness import until


def keeper(job: LocalJob) -> int:
    """The process that acts for the run."""
    return int(until("somebody acts for the run", lambda: actor(RunFolder(job.run))))


def start_unkept(job: LocalJob) -> None:
    """Start its run in the background, and end who acts for it."""
    job.tell("run", job.recipe, "--detach")
    os.kill(keeper(job), signal.SIGKILL)


def notices(job: LocalJob, words: str, **launch: Any) -> Path:
    """The file to which every notice of its run will add a line of `words`; `launch`: what else the recipe asks for."""
    heard = job.folder / "heard"
    recipe = json.loads(job.recipe.read_text())
    recipe["launch"] |= {"notify": f"echo {words} >> {heard}", **launch}
    job.recipe.write_text(json.dumps(recipe))
    return heard


def runs_now(part: bytes) -> bool:
    """Whether a process of this machine has `part` in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if part in path.read_bytes():
                return True
    return False


def test_attach_tells_what_happened_follows_to_the_end_and_gives_the_outcome(local_job: MakeJob) -> None:
    job = local_job(steps=200)
    job.tell("run", job.recipe, "--detach")
    until("ten steps", lambda: job.step >= 10)
    told = job.tell("attach", job.run.name[:5])
    lines = re.findall(r"step (\d+)/200 ", told.stdout)
    assert lines[-1] == "200"
    assert "[localhost rank0] step 2/200" not in told.stdout
    assert "so far" in told.stderr
    assert f"SUCCEEDED: {job.run.name}, 200 steps" in told.stdout
    at_once = job.tell("attach", job.run)
    assert f"SUCCEEDED: {job.run.name}, 200 steps, last loss 1.3333" in at_once.stdout
    assert "rank0" not in at_once.stdout


def test_ctrl_c_once_leaves_and_twice_cancels_in_run_and_attach(local_job: MakeJob) -> None:
    job = local_job()
    running = job.start("run", job.recipe)
    running.until(r"step 3/")
    running.send(signal.SIGINT)
    assert running.ends() == 0, running.text
    for verb in ("attach", "status", "logs", "cancel"):
        assert f"llmctl {verb} {job.run.name}" in running.text
    assert job.state == "RUNNING"
    acting = keeper(job)
    attached = job.start("attach")
    attached.until(r"rank0\] step \d+/")
    assert keeper(job) == acting
    attached.send(signal.SIGINT)
    attached.until("Once more")
    attached.send(signal.SIGINT)
    assert attached.ends() == 130, attached.text
    assert "was cancelled" in attached.text
    assert job.state == "CANCELLED"
    assert job.processes() == []
    assert "was cancelled" in job.tell("attach", job.run, code=130).stderr
    for each in (running, attached):
        assert "Traceback" not in each.text


def test_ctrl_c_twice_while_the_nodes_are_being_stopped_leaves_no_traceback(local_job: MakeJob) -> None:
    job = local_job()
    job.tell("run", job.recipe, "--detach")
    until("a step", lambda: job.step >= 1)
    job.order("hang")  # and SIGTERM is not heard any more
    log = job.run / "logs" / "localhost" / "rank0.log"
    until("it hangs", lambda: "order: hang" in log.read_text(encoding="utf-8"))
    cancelling = job.start("cancel", job.run)
    asked = f"supervisor.py\0cancel\0{job.run}".encode()
    until("the node is told", lambda: runs_now(asked))
    cancelling.send(signal.SIGINT)
    cancelling.until("llmctl cancel")
    cancelling.send(signal.SIGINT)
    assert cancelling.ends() in (-signal.SIGINT, 130)
    assert "Traceback" not in cancelling.text


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_run_which_is_kept(signum: signal.Signals, local_job: MakeJob) -> None:
    job = local_job()
    running = job.start("run", job.recipe)
    running.until(r"step 3/")
    running.send(signum)
    assert running.ends() == 0, running.text
    assert f"detached; {job.run.name} goes on" in running.text
    assert keeper(job) != running.process.pid
    assert job.processes()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["checking the nodes", "staging", "starting 1 processes"])
def test_an_interrupted_start_is_cleaned_and_says_so(moment: str, signum: signal.Signals, local_job: MakeJob) -> None:
    job = local_job()
    running = job.start("run", job.recipe)
    running.until(moment)
    running.send(signum)
    code = running.ends()
    if code == 0:  # the start was over before the signal came
        assert "detached" in running.text
        return
    assert code == 130, running.text
    assert "stopping: what was begun on the nodes is cleaned up" in running.text
    assert "stopped before the start; nothing of it is left running" in running.text
    assert "Traceback" not in running.text
    assert not job.runs.is_dir() or list(job.runs.iterdir()) == []


def test_attach_acts_for_a_run_that_nobody_keeps(local_job: MakeJob) -> None:
    job = local_job()
    start_unkept(job)
    until("nobody acts", lambda: actor(RunFolder(job.run)) is None)
    attached = job.start("attach", job.run)
    attached.until(r"rank0\] step \d+/")
    until("attach acts", lambda: actor(RunFolder(job.run)) == attached.process.pid)
    job.order("exit 7")
    assert attached.ends() == 1, attached.text
    assert "FAILED first: localhost rank 0" in attached.text
    assert job.state == "FAILED"
    told = job.tell("attach", job.run, code=1)
    assert "FAILED first: localhost rank 0" in told.stderr


def test_attach_goes_on_when_the_one_who_acted_is_gone(local_job: MakeJob) -> None:
    job = local_job()
    job.tell("run", job.recipe, "--detach")
    acting = keeper(job)
    attached = job.start("attach", job.run)
    attached.until(r"rank0\] step \d+/")
    os.kill(acting, signal.SIGKILL)
    until("attach acts", lambda: actor(RunFolder(job.run)) == attached.process.pid)
    job.tell("cancel", job.run)
    assert attached.ends() == 130, attached.text


def test_a_closed_pipe_leaves_the_run_and_ends_the_reading_of_logs_quietly(local_job: MakeJob) -> None:
    job = local_job()
    done = job.shell(f"{{ $LLMCTL run {job.recipe}; echo code $? >&2; }} | head -n 1")
    assert done.stdout.startswith("connecting to")
    assert "nobody reads the output any more" in done.stderr
    assert f"detached; {job.run.name} goes on" in done.stderr
    assert "code 0" in done.stderr
    assert job.state == "RUNNING"
    until("some steps", lambda: job.step >= 5)
    for words in ("logs", "logs -f"):
        done = job.shell(f"{{ $LLMCTL {words}; echo code $? >&2; }} | head -n 1")
        assert done.stdout.startswith("[localhost")
        assert done.stderr.strip() == "code 0"


@pytest.mark.parametrize("kept", [True, False])
def test_a_cancelled_run_notifies_once_and_its_last_step_is_noted(kept: bool, local_job: MakeJob) -> None:
    job = local_job()
    heard = notices(job, "$LLMCTL_NOTIFY_STATE $LLMCTL_NOTIFY_LAST_STEP")
    if kept:
        job.tell("run", job.recipe, "--detach")
    else:
        start_unkept(job)
    until("five steps", lambda: job.step >= 5)
    job.tell("cancel", job.run)
    until("nobody acts", lambda: actor(RunFolder(job.run)) is None)
    (told,) = heard.read_text().splitlines()
    state, step = told.split()
    assert (state, int(step) >= 5) == ("CANCELLED", True)
    assert json.loads((job.run / "manifest.json").read_text())["last_step"] == int(step)


def test_a_keeper_that_begins_just_when_a_run_is_cancelled_notifies_of_nothing(
    local_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = local_job()
    heard = notices(job, "told")
    start_unkept(job)
    until("a step", lambda: job.step >= 1)
    monkeypatch.setenv("LLMCTL_HOME", job.env["LLMCTL_HOME"])
    with opened(RunFolder(job.run)) as (live, _):
        job.tell("cancel", job.run)
        assert keep(live, PlainWatcher()).state == "CANCELLED"
    assert heard.read_text() == "told\n"


def test_a_run_that_a_keeper_starts_again_after_its_end_was_told_is_told_of_again(
    local_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = local_job(steps=40)
    heard = notices(job, "$LLMCTL_NOTIFY_STATE", retries=1)
    start_unkept(job)
    until("a checkpoint", lambda: job.step >= 6)
    monkeypatch.setenv("LLMCTL_HOME", job.env["LLMCTL_HOME"])
    with opened(RunFolder(job.run)) as (live, _):
        job.order("signal 9")
        until("it has failed", lambda: not job.processes())
        job.tell("status", job.run)
        assert keep(live, PlainWatcher()).state == "SUCCEEDED"
    assert heard.read_text().split() == ["FAILED", "SUCCEEDED"]


def test_a_run_that_is_cancelled_while_it_starts_does_not_start(
    local_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = local_job()
    job.tell("run", job.recipe, "--detach")
    until("a step", lambda: job.step >= 1)
    job.tell("cancel", job.run)
    until("nobody acts", lambda: actor(RunFolder(job.run)) is None)
    resumed = RunFolder(job.run)

    def cancelled(live: Live, *words: Any, **more: Any) -> None:
        if live.folder == resumed:
            assert actor(resumed) == os.getpid(), "nobody takes it for one that was given up"
            assert job.tell("status", job.run, "--json").stdout.count('"STAGING"') == 1
        llmctl("cancel", live.folder.root, env=job.env, code=(0, 5))
        bring_up(live, *words, **more)

    monkeypatch.setattr("llmctl.workflows.run.bring_up", cancelled)
    monkeypatch.setenv("LLMCTL_HOME", job.env["LLMCTL_HOME"])
    for request in (RunRequest(source="", resume=resumed), RunRequest(source=str(job.recipe), runs=job.runs)):
        with pytest.raises(Interrupted, match="was cancelled"):
            begin(request, PlainWatcher())
    assert [path.name for path in job.runs.iterdir()] == [resumed.run_id], "nothing of the new one is left"
    assert (job.state, job.processes()) == ("CANCELLED", [])
    assert actor(resumed) is None
