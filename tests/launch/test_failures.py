"""Who failed first, from what nodes and launchers told. The launchers' texts are from real runs, shortened."""

from __future__ import annotations

from typing import Any

from llmctl.launch.failures import cause, first_failure
from llmctl.launch.supervised import NodeReport
from llmctl.run.states import State

TORCHRUN = """W1121 torch/distributed/elastic/multiprocessing/api.py:897] Sending process 11 closing signal SIGTERM
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
llmctl_engine FAILED
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_07:40:03
  host      : node2
  rank      : 1 (local_rank: 0)
  exitcode  : -9 (pid: 1247)
  error_file: <N/A>
"""
DEEPSPEED = (
    "[2026-11-21 07:40:03,000] [ERROR] [launch.py:319:sigkill_handler] ['python3'] exits with return code = -9\n"
)


BOTH = """llmctl_engine FAILED
Failures:
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : {other} (pid: 12)
Root Cause (first observed failure):
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 11)
"""
"""Two ranks of one node: the second died, the first missed it, and torchrun saw the first one's end first."""


def error(rank: int, time: float, message: str, kind: str = "RuntimeError") -> dict[str, Any]:
    return {"rank": rank, "type": kind, "message": message, "traceback": "Traceback\n  line\n", "time": time}


def report(node: str, *errors: dict[str, Any], state: State = State.FAILED, ended: float = 5.0) -> NodeReport:
    return NodeReport(node=node, state=state, exit_code=1, ended=ended, errors=errors)


def test_a_killed_rank_comes_before_those_that_miss_it() -> None:
    reports = {
        "node1": report("node1", error(0, 1.0, "Connection closed by peer [10.0.0.2]:2345")),
        "node2": report("node2"),
    }
    found = first_failure(reports, {"logs/node2/launcher.log": TORCHRUN, "logs/node2/rank1.log": "a\nstep 3\n"})
    assert found is not None
    assert (found.node, found.rank, found.exit_code) == ("node2", 1, 137)
    assert found.message == "ended by signal 9"
    assert found.tail == ("a", "step 3")


def test_a_rank_that_was_aborted_for_the_loss_of_another_is_not_the_cause() -> None:
    reports = {"node1": report("node1", error(0, 1.0, "out of memory")), "node2": report("node2")}
    found = first_failure(reports, {"logs/node2/launcher.log": TORCHRUN.replace("-9", "-6")})
    assert found is not None
    assert (found.node, found.rank, found.message) == ("node1", 0, "RuntimeError: out of memory")
    alone = first_failure({"node2": report("node2")}, {"logs/node2/launcher.log": TORCHRUN.replace("-9", "-6")})
    assert alone is not None
    assert alone.message == "ended by signal 6"


def test_a_rank_that_died_is_the_cause_though_torchrun_saw_another_one_end_first() -> None:
    reports = {"node1": report("node1", error(0, 1.0, "Connection closed by peer"))}
    found = first_failure(reports, {"logs/node1/launcher.log": BOTH.format(other=-9)})
    assert found is not None
    assert (found.rank, found.exit_code, found.message) == (1, 137, "ended by signal 9")
    asked = first_failure(reports, {"logs/node1/launcher.log": BOTH.format(other=-15)})
    assert asked is not None
    assert (asked.rank, asked.message) == (0, "RuntimeError: Connection closed by peer")


def test_deepspeed_tells_the_signal_but_not_the_rank() -> None:
    found = first_failure({"node1": report("node1")}, {"logs/node1/launcher.log": DEEPSPEED})
    assert found is not None
    assert (found.node, found.rank, found.exit_code) == ("node1", None, 137)


def test_the_earliest_error_of_its_own_is_the_cause() -> None:
    reports = {
        "node1": report("node1", error(0, 3.0, "out of memory"), error(1, 1.0, "Broken pipe")),
        "node2": report("node2", error(2, 2.0, "no such file")),
    }
    found = first_failure(reports, {})
    assert found is not None
    assert (found.node, found.rank, found.message) == ("node2", 2, "RuntimeError: no such file")
    assert found.tail == ("Traceback", "  line")


def test_the_rank_with_the_bad_batch_is_named() -> None:
    reports = {
        "node1": report(
            "node1", error(0, 1.0, "the loss of step 3 is not finite: it comes from rank 1", "EngineError")
        ),
        "node2": report("node2", error(1, 2.0, "the loss of step 3 is not finite: rank 1 (d row 7)", "EngineError")),
    }
    found = first_failure(reports, {})
    assert found is not None
    assert (found.rank, found.message) == (1, "the loss of step 3 is not finite: rank 1 (d row 7)")


def test_errors_for_people_come_without_a_traceback() -> None:
    told = report("node1", error(0, 1.0, "no good row", "EngineError"))
    found = first_failure({"node1": told}, {"logs/node1/rank0.log": "noise\n"})
    assert found is not None
    assert (found.message, found.tail) == ("no good row", ())


def test_only_echoes_leave_the_first_of_them() -> None:
    reports = {
        "node1": report("node1", error(0, 2.0, "socket timeout")),
        "node2": report("node2", error(1, 1.0, "reset")),
    }
    found = first_failure(reports, {})
    assert found is not None
    assert found.node == "node2"


def test_a_rank_that_misses_a_lost_node_is_not_the_cause() -> None:
    echo, own = error(0, 2.0, "Connection reset by peer"), error(0, 2.0, "no such file")
    lost = report("node2", state=State.LOST)
    assert cause({"node1": report("node1", echo), "node2": lost}, {}, ("node2",)) is None
    without, of_its_own = (cause({"node1": report("node1", each)}, {}) for each in (echo, own))
    assert without is not None
    assert without.node == "node1"
    assert cause({"node1": report("node1", own), "node2": lost}, {}, ("node2",)) == of_its_own


def test_a_node_that_says_nothing_is_named_with_its_exit_code_and_log() -> None:
    reports = {"node1": report("node1", ended=9.0), "node2": report("node2", ended=4.0)}
    found = first_failure(reports, {"logs/node2/launcher.log": "launch: no python3 on node2\n"})
    assert found is not None
    assert (found.node, found.rank, found.message) == ("node2", None, "ended with exit code 1")
    assert found.tail == ("launch: no python3 on node2",)


def test_nothing_failed() -> None:
    assert first_failure({"node1": report("node1", state=State.SUCCEEDED)}, {}) is None


def test_a_rank_that_stopped_when_asked_is_not_the_cause_of_what_killed_a_launcher() -> None:
    asked = error(0, 1.0, "stopped by a signal", "Stopped")
    killed = NodeReport(node="node2", state=State.FAILED, exit_code=137, ended=9.0)
    found = first_failure({"node1": report("node1", asked), "node2": killed}, {})
    assert found is not None
    assert (found.node, found.exit_code, found.message) == ("node2", 137, "ended with exit code 137")
    lost = NodeReport(node="node2", state=State.LOST)
    found = first_failure({"node1": report("node1", asked), "node2": lost}, {})
    assert found is not None
    assert (found.node, found.message) == ("node2", "the supervisor is gone")
    alone = first_failure({"node1": report("node1", asked), "node2": report("node2")}, {})
    assert alone is not None
    assert (alone.rank, alone.message) == (0, "stopped by a signal")


def test_a_rank_that_ended_without_a_word_comes_before_those_that_miss_it() -> None:
    reports = {
        "node1": report("node1", error(0, 1.0, "Connection closed by peer [10.0.0.2]:2345")),
        "node2": report("node2"),
    }
    found = first_failure(reports, {"logs/node2/launcher.log": TORCHRUN.replace("-9", "3")})
    assert found is not None
    assert (found.node, found.rank, found.exit_code, found.message) == ("node2", 1, 3, "ended without a word")


def test_a_rank_that_could_not_write_its_error_down_is_blamed_by_its_log() -> None:
    reports = {"node1": report("node1", error(0, 1.0, "Connection closed by peer")), "node2": report("node2")}
    logs = {
        "logs/node1/rank0.log": "RuntimeError: Connection closed by peer\n",
        "logs/node2/rank1.log": "step 3\nTraceback\nOSError: [Errno 30] Read-only file system: '/data'\n",
    }
    found = first_failure(reports, logs)
    assert found is not None
    assert (found.node, found.rank) == ("node2", 1)
    assert found.message == "OSError: [Errno 30] Read-only file system: '/data'"
