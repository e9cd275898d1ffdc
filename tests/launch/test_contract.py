"""One contract for every backend: submit, status, logs, cancel, collect, on real nodes with a launcher of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from llmctl.launch.backends import BACKENDS
from llmctl.launch.collect import collect
from llmctl.launch.staging import Cargo, stage
from llmctl.launch.supervised import NodeReport
from llmctl.run.folder import RunFolder
from llmctl.run.states import ENDED, State
from llmctl.workflows.live import open_all, reached_here
from llmctl.workflows.manifest import login_of
from llmctl.workflows.render import draft
from llmctl.workflows.starting import job_of
from tests.launch.backend_runs import GRACE, Run, Site, submit, write_recipe

pytestmark = pytest.mark.lab

LIVES = 'echo "begin $LLMCTL_RUN_ID"; n=0; while :; do n=$((n + 1)); echo "tick $n"; sleep 0.2; done'

Start = Callable[..., Run]


@pytest.fixture(params=sorted(BACKENDS))
def start(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Start]:
    """A factory: `start(script)` submits a job of the backend; what is left of it at the end is ended."""
    name: str = request.param
    made: list[Run] = []

    def begin(part: str) -> Run:
        made.append(submit(site, name, part, tmp_path))
        return made[-1]

    yield begin
    for run in made:
        run.backend.cancel(run.job, run.transports, GRACE)
        for transport in run.transports.values():
            transport.close()


def test_logs_come_in_order_each_line_once_and_status_says_running(start: Start) -> None:
    run = start(LIVES)
    run.until_all_begun()
    run.until("ticks", lambda _: run.output.count("tick 8") >= len(run.job.nodes))
    starters = run.backend.starters(run.job)
    told = {o.item: o.value for o in run.backend.status(run.job, run.transports)}
    assert list(told) == list(run.job.nodes)
    assert all(told[node] is not None and told[node].state is State.RUNNING for node in starters)  # type: ignore[union-attr]
    heard: dict[tuple[str, str], list[int]] = {}
    for name, text in run.texts.items():
        for speaker, _, number in (line.rpartition("tick ") for line in text.splitlines() if "tick " in line):
            heard.setdefault((name, speaker), []).append(int(number))
    assert len(heard) == len(run.job.nodes)
    assert all(ticks == list(range(1, len(ticks) + 1)) for ticks in heard.values())
    assert run.backend.failure_in("tick 8") is None


def test_cancel_leaves_nothing_and_touches_no_other_run(start: Start) -> None:
    hides = "setsid sh -c 'sleep 300 & exec sleep 301' >/dev/null 2>&1 & trap '' TERM; "
    one, two = start(hides + LIVES), start(LIVES)
    for run in (one, two):
        run.until_all_begun()
    site = one.site
    before = set(site.pids(two.job.run_id))
    outcomes = one.backend.cancel(one.job, one.transports, GRACE)
    assert [outcome.error for outcome in outcomes] == [None] * len(one.job.nodes)
    assert sum(outcome.value or 0 for outcome in outcomes) >= 1
    assert site.pids(one.job.run_id) == []
    starters = one.backend.starters(one.job)
    ended = one.until("an end", lambda found: all(found[node].state in ENDED for node in starters))
    assert {ended[node].state for node in starters} == {State.CANCELLED}
    # The other one has its launchers still; only its `sleep`s come and go.
    assert len(before & set(site.pids(two.job.run_id))) >= len(two.job.nodes)
    assert all(two.look()[node].state is State.RUNNING for node in starters)
    # A second cancel finds nothing, and says so.
    again = one.backend.cancel(one.job, one.transports, GRACE)
    assert [(outcome.value, outcome.error) for outcome in again] == [(0, None)] * len(one.job.nodes)


@pytest.mark.parametrize(("how", "code"), [("exit 3", 3), ("kill -SEGV $$", 139)])
def test_a_failure_is_told_with_its_exit_code_and_the_rest_can_be_ended(start: Start, how: str, code: int) -> None:
    probe = start(LIVES)  # its number of nodes says which rank is the last
    last = len(probe.job.nodes) - 1
    run = start(f'[ "$1" = {last} ] || exec sleep 300; {how}')

    def codes(found: Mapping[str, NodeReport]) -> set[int | None]:
        told = {report.exit_code for report in found.values() if report.state is State.FAILED}
        complaints = [run.backend.failure_in(line) for line in run.output.splitlines()]
        return told | {int(each.rpartition(" ")[2]) for each in complaints if each}

    run.until("a failure", lambda found: code in codes(found))
    outcomes = run.backend.cancel(run.job, run.transports, GRACE)
    assert [outcome.error for outcome in outcomes] == [None] * len(run.job.nodes)
    assert run.site.pids(run.job.run_id) == []
    assert run.site.pids(probe.job.run_id)


def test_a_run_that_succeeds_says_so_and_its_logs_are_collected(start: Start, tmp_path: Path) -> None:
    run = start('echo "done $1"; exit 0')
    starters = run.backend.starters(run.job)
    ended = run.until("an end", lambda found: all(found[node].state in ENDED for node in starters))
    assert {(ended[node].state, ended[node].exit_code) for node in starters} == {(State.SUCCEEDED, 0)}
    folder = RunFolder(tmp_path / "collected")
    outcomes = collect(run.job, folder, run.transports)
    assert [outcome.error for outcome in outcomes] == [None] * len(run.job.nodes)
    text = "".join((folder.logs(node) / "launcher.log").read_text() for node in starters)
    assert sorted(line.split(": ")[-1] for line in text.splitlines()) == [
        f"done {r}" for r in range(len(run.job.nodes))
    ]


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_run_that_was_never_submitted_has_no_state(name: str, site: Site, tmp_path: Path) -> None:
    planned = draft(write_recipe(site, name, tmp_path), runs=tmp_path / "runs")
    login, job = login_of(planned.loaded.recipe), job_of(planned)
    job = replace(job, run_id=job.run_id + os.urandom(2).hex())
    transports = open_all(planned.nodes, login, local=reached_here(name, login))
    staged = stage(job, Cargo(planned.files, {}), transports, lambda _node, _what: None)
    assert [outcome.error for outcome in staged] == [None] * len(job.nodes)
    told = BACKENDS[name].status(job, transports)
    assert [(outcome.value.state if outcome.value else "", outcome.error) for outcome in told] == [
        (None, None) for _ in job.nodes
    ]
    assert [outcome.value for outcome in BACKENDS[name].cancel(job, transports, GRACE)] == [0] * len(job.nodes)
    for transport in transports.values():
        transport.close()
